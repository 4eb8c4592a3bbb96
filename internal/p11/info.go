// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo

package p11

import (
	"fmt"
	"strings"

	"github.com/miekg/pkcs11"
)

// list describes every token that is present, in slot order.
func (m *module) list(raw library) ([]TokenInfo, error) {
	slots, err := raw.GetSlotList(true)
	if err != nil {
		return nil, wrap("C_GetSlotList", err)
	}
	var infos []TokenInfo
	for _, slot := range slots {
		info, err := tokenInfo(raw, m.path, slot)
		if err != nil {
			continue // a slot whose token does not answer hides no other
		}
		infos = append(infos, info)
	}
	return infos, nil
}

// chooseToken returns the one token that matches sel.
func chooseToken(path string, sel Selector, found []TokenInfo) (TokenInfo, error) {
	var match []TokenInfo
	for _, info := range found {
		if sel.match(info) {
			match = append(match, info)
		}
	}
	if len(match) != 1 {
		return TokenInfo{}, &TokenError{Module: path, Select: sel, Found: found}
	}
	return match[0], nil
}

// chooseLasting is chooseToken for a token that has to be found again after an outage,
// when its slot may be another one: what it says of itself tells it from the others.
func chooseLasting(path string, sel Selector, found []TokenInfo) (TokenInfo, error) {
	info, err := chooseToken(path, sel, found)
	if err != nil || !info.Flags.Initialized {
		return info, err
	}
	return chooseToken(path, Selector{Label: info.Label, Serial: info.Serial}, found)
}

func tokenInfo(raw library, path string, slot uint) (TokenInfo, error) {
	t, err := raw.GetTokenInfo(slot)
	if err != nil {
		return TokenInfo{}, wrap("C_GetTokenInfo", err)
	}
	return TokenInfo{
		Module:       path,
		Slot:         slot,
		Label:        clean(t.Label),
		Manufacturer: clean(t.ManufacturerID),
		Model:        clean(t.Model),
		Serial:       clean(t.SerialNumber),
		Hardware:     version(t.HardwareVersion),
		Firmware:     version(t.FirmwareVersion),
		FreePublic:   memory(t.FreePublicMemory),
		FreePrivate:  memory(t.FreePrivateMemory),
		MinPIN:       int(t.MinPinLen),
		MaxPIN:       int(t.MaxPinLen),
		MaxSessions:  sessionLimit(t.MaxRwSessionCount),
		Flags:        tokenFlags(t.Flags),
	}, nil
}

func libraryName(raw library) string {
	info, err := raw.GetInfo()
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%s %s", clean(info.LibraryDescription), version(info.LibraryVersion))
}

// clean drops the padding of PKCS#11's fixed-length strings: blanks by the
// standard, zero bytes on some tokens (tpm2-pkcs11).
func clean(s string) string { return strings.TrimRight(s, " \x00") }

func version(v pkcs11.Version) string { return fmt.Sprintf("%d.%d", v.Major, v.Minor) }

func memory(n uint) int64 {
	if n == pkcs11.CK_UNAVAILABLE_INFORMATION {
		return -1
	}
	return int64(n)
}

func sessionLimit(n uint) int {
	if n == pkcs11.CK_UNAVAILABLE_INFORMATION || n == pkcs11.CK_EFFECTIVELY_INFINITE || n > 1<<20 {
		return 0
	}
	return int(n)
}

func tokenFlags(f uint) TokenFlags {
	has := func(bit uint) bool { return f&bit != 0 }
	return TokenFlags{
		Initialized:     has(pkcs11.CKF_TOKEN_INITIALIZED),
		LoginRequired:   has(pkcs11.CKF_LOGIN_REQUIRED),
		UserPINSet:      has(pkcs11.CKF_USER_PIN_INITIALIZED),
		ProtectedPath:   has(pkcs11.CKF_PROTECTED_AUTHENTICATION_PATH),
		WriteProtected:  has(pkcs11.CKF_WRITE_PROTECTED),
		HasRandom:       has(pkcs11.CKF_RNG),
		UserPINCountLow: has(pkcs11.CKF_USER_PIN_COUNT_LOW),
		UserPINFinalTry: has(pkcs11.CKF_USER_PIN_FINAL_TRY),
		UserPINLocked:   has(pkcs11.CKF_USER_PIN_LOCKED),
		UserPINChange:   has(pkcs11.CKF_USER_PIN_TO_BE_CHANGED),
		SOPINCountLow:   has(pkcs11.CKF_SO_PIN_COUNT_LOW),
		SOPINFinalTry:   has(pkcs11.CKF_SO_PIN_FINAL_TRY),
		SOPINLocked:     has(pkcs11.CKF_SO_PIN_LOCKED),
	}
}

func mechanisms(raw library, slot uint) (Mechanisms, error) {
	list, err := raw.GetMechanismList(slot)
	if err != nil {
		return nil, wrap("C_GetMechanismList", err)
	}
	ms := make(Mechanisms, 0, len(list))
	for _, m := range list {
		ms = append(ms, Mechanism(m.Mechanism))
	}
	return ms, nil
}
