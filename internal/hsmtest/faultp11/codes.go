// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build unix

package faultp11

// Codes to answer with (CKR_, PKCS#11 v2.40 base section 5.1). Any other number
// will do as well.
const (
	HostMemory            = 0x02
	SlotIDInvalid         = 0x03
	GeneralError          = 0x05
	FunctionFailed        = 0x06
	AttributeReadOnly     = 0x10
	AttributeTypeInvalid  = 0x12
	AttributeValueInvalid = 0x13
	DeviceError           = 0x30
	DeviceMemory          = 0x31
	DeviceRemoved         = 0x32
	KeyHandleInvalid      = 0x60
	MechanismInvalid      = 0x70
	ObjectHandleInvalid   = 0x82
	OperationActive       = 0x90
	PINIncorrect          = 0xa0
	PINExpired            = 0xa3
	PINLocked             = 0xa4
	SessionClosed         = 0xb0
	SessionCount          = 0xb1
	SessionHandleInvalid  = 0xb3
	TemplateInconsistent  = 0xd1
	TokenNotPresent       = 0xe0
	TokenNotRecognized    = 0xe1
	UserNotLoggedIn       = 0x101
	BufferTooSmall        = 0x150
	NotInitialized        = 0x190
)

// Flags of CK_TOKEN_INFO (CKF_, PKCS#11 v2.40 base section 3.2) for
// [Module.PINFlags].
const (
	UserPINCountLow    = 0x00010000
	UserPINFinalTry    = 0x00020000
	UserPINLocked      = 0x00040000
	UserPINToBeChanged = 0x00080000
	SOPINCountLow      = 0x00100000
	SOPINFinalTry      = 0x00200000
	SOPINLocked        = 0x00400000
)
