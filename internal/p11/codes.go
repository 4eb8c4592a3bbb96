// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package p11

import "fmt"

// The CKR_ values this module decides on (PKCS#11 v2.40 base, section 5.1).
const (
	ckrSlotIDInvalid        = 0x03
	ckrGeneralError         = 0x05
	ckrFunctionFailed       = 0x06
	ckrAttributeReadOnly    = 0x10
	ckrAttributeSensitive   = 0x11
	ckrAttributeTypeInvalid = 0x12
	ckrAttributeValue       = 0x13
	ckrDeviceError          = 0x30
	ckrDeviceMemory         = 0x31
	ckrDeviceRemoved        = 0x32
	ckrKeyHandleInvalid     = 0x60
	ckrMechanismInvalid     = 0x70
	ckrMechanismParam       = 0x71
	ckrObjectHandleInvalid  = 0x82
	ckrOperationActive      = 0x90
	ckrPINIncorrect         = 0xa0
	ckrPINInvalid           = 0xa1
	ckrPINLenRange          = 0xa2
	ckrPINExpired           = 0xa3
	ckrPINLocked            = 0xa4
	ckrSessionClosed        = 0xb0
	ckrSessionCount         = 0xb1
	ckrSessionHandleInvalid = 0xb3
	ckrSessionExists        = 0xb6
	ckrTemplateInconsistent = 0xd1
	ckrTokenNotPresent      = 0xe0
	ckrTokenNotRecognized   = 0xe1
	ckrUserAlreadyLoggedIn  = 0x100
	ckrUserNotLoggedIn      = 0x101
	ckrBufferTooSmall       = 0x150
	ckrNotInitialized       = 0x190
	ckrAlreadyInitialized   = 0x191
)

var codeNames = map[uint]string{
	0x01: "CKR_CANCEL", 0x02: "CKR_HOST_MEMORY", 0x03: "CKR_SLOT_ID_INVALID",
	0x05: "CKR_GENERAL_ERROR", 0x06: "CKR_FUNCTION_FAILED", 0x07: "CKR_ARGUMENTS_BAD",
	0x0a: "CKR_CANT_LOCK", 0x10: "CKR_ATTRIBUTE_READ_ONLY", 0x11: "CKR_ATTRIBUTE_SENSITIVE",
	0x12: "CKR_ATTRIBUTE_TYPE_INVALID", 0x13: "CKR_ATTRIBUTE_VALUE_INVALID", 0x1b: "CKR_ACTION_PROHIBITED",
	0x20: "CKR_DATA_INVALID", 0x21: "CKR_DATA_LEN_RANGE", 0x30: "CKR_DEVICE_ERROR",
	0x31: "CKR_DEVICE_MEMORY", 0x32: "CKR_DEVICE_REMOVED", 0x50: "CKR_FUNCTION_CANCELED",
	0x54: "CKR_FUNCTION_NOT_SUPPORTED", 0x60: "CKR_KEY_HANDLE_INVALID", 0x62: "CKR_KEY_SIZE_RANGE",
	0x63: "CKR_KEY_TYPE_INCONSISTENT", 0x68: "CKR_KEY_FUNCTION_NOT_PERMITTED", 0x6a: "CKR_KEY_UNEXTRACTABLE",
	0x70: "CKR_MECHANISM_INVALID", 0x71: "CKR_MECHANISM_PARAM_INVALID", 0x82: "CKR_OBJECT_HANDLE_INVALID",
	0x90: "CKR_OPERATION_ACTIVE", 0x91: "CKR_OPERATION_NOT_INITIALIZED", 0xa0: "CKR_PIN_INCORRECT",
	0xa1: "CKR_PIN_INVALID", 0xa2: "CKR_PIN_LEN_RANGE", 0xa3: "CKR_PIN_EXPIRED", 0xa4: "CKR_PIN_LOCKED",
	0xb0: "CKR_SESSION_CLOSED", 0xb1: "CKR_SESSION_COUNT", 0xb3: "CKR_SESSION_HANDLE_INVALID",
	0xb5: "CKR_SESSION_READ_ONLY", 0xb6: "CKR_SESSION_EXISTS", 0xb7: "CKR_SESSION_READ_ONLY_EXISTS",
	0xc0: "CKR_SIGNATURE_INVALID", 0xd0: "CKR_TEMPLATE_INCOMPLETE", 0xd1: "CKR_TEMPLATE_INCONSISTENT",
	0xe0: "CKR_TOKEN_NOT_PRESENT", 0xe1: "CKR_TOKEN_NOT_RECOGNIZED", 0xe2: "CKR_TOKEN_WRITE_PROTECTED",
	0x100: "CKR_USER_ALREADY_LOGGED_IN", 0x101: "CKR_USER_NOT_LOGGED_IN", 0x102: "CKR_USER_PIN_NOT_INITIALIZED",
	0x103: "CKR_USER_TYPE_INVALID", 0x104: "CKR_USER_ANOTHER_ALREADY_LOGGED_IN", 0x130: "CKR_DOMAIN_PARAMS_INVALID",
	0x140: "CKR_CURVE_NOT_SUPPORTED", 0x150: "CKR_BUFFER_TOO_SMALL", 0x190: "CKR_CRYPTOKI_NOT_INITIALIZED",
	0x191: "CKR_CRYPTOKI_ALREADY_INITIALIZED",
}

// CodeName returns the standard's name of a CKR_ value, or "vendor code" or
// "unknown code" for one that has none.
func CodeName(code uint) string {
	if name, ok := codeNames[code]; ok {
		return name
	}
	if code >= 0x80000000 {
		return fmt.Sprintf("vendor code %d", code-0x80000000)
	}
	return "unknown code"
}

// codeHints says what most often lies behind a code.
var codeHints = map[uint]string{
	ckrPINIncorrect:        "the PIN is wrong; it was tried once and is not tried again",
	ckrPINLocked:           "too many wrong PINs; the security officer can unblock it",
	ckrPINLenRange:         "the PIN is shorter or longer than the token allows",
	ckrDeviceError:         "the connection to the device may be lost",
	ckrDeviceMemory:        "the token may be full",
	ckrDeviceRemoved:       "the token was removed",
	ckrTokenNotPresent:     "there is no token in the slot",
	ckrSessionCount:        "the token has no session left",
	ckrSessionExists:       "the token is in use",
	ckrMechanismInvalid:    "the token cannot do this algorithm",
	ckrUserNotLoggedIn:     "the login was lost",
	ckrNotInitialized:      "the module was finalised by somebody else",
	ckrAlreadyInitialized:  "somebody else in this process uses the module, and might finalise it",
	ckrAttributeReadOnly:   "only the security officer may set this",
	ckrUserAlreadyLoggedIn: "this process is logged in already",
}

// codeSentinels maps a code to the error that callers test for.
var codeSentinels = map[uint]error{
	ckrPINIncorrect:       ErrPIN,
	ckrPINInvalid:         ErrPIN,
	ckrPINLenRange:        ErrPIN,
	ckrPINExpired:         ErrPIN,
	ckrPINLocked:          ErrPINLocked,
	ckrDeviceRemoved:      ErrRemoved,
	ckrTokenNotPresent:    ErrRemoved,
	ckrTokenNotRecognized: ErrRemoved,
	ckrSessionCount:       ErrBusy,
	ckrSessionExists:      ErrBusy,
	ckrMechanismInvalid:   ErrUnsupported,
	ckrMechanismParam:     ErrUnsupported,
}
