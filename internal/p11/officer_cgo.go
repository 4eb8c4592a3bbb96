// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo

package p11

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/miekg/pkcs11"
)

// AsOfficer logs in as the security officer, runs f and logs out. The token must
// not be open in this process ([ErrBusy]): PKCS#11 has one login for the process,
// and that would be the user's. A wrong PIN was tried once; with one try left it
// is not tried ([ErrPINFinalTry]).
func AsOfficer(ctx context.Context, r OfficerRequest, f func(Officer) error) error {
	_, err := asOfficer(ctx, r, func(raw library, s pkcs11.SessionHandle) error {
		return f(officer{session{raw: raw, handle: s}})
	})
	return err
}

// asOfficer returns the token as it is afterwards.
func asOfficer(ctx context.Context, r OfficerRequest, f func(library, pkcs11.SessionHandle) error) (info TokenInfo, err error) {
	if len(r.SOPIN) == 0 {
		return TokenInfo{}, ErrNoPIN
	}
	m, err := moduleFor(r.Module, r.Host)
	if err != nil {
		return TokenInfo{}, err
	}
	if err := m.lock(ctx); err != nil {
		return TokenInfo{}, err
	}
	defer m.unlock()
	err = m.manage(ctx, func(raw library) error {
		if info, err = m.tokenForOfficer(raw, r.Select); err != nil {
			return err
		}
		err = withOfficer(raw, info.Slot, r.SOPIN, func(s pkcs11.SessionHandle) error { return f(raw, s) })
		if err == nil {
			info, err = tokenInfo(raw, m.path, info.Slot)
		}
		return err
	})
	return info, err
}

// tokenForOfficer finds a token that the security officer can log in to.
func (m *module) tokenForOfficer(raw library, sel Selector) (TokenInfo, error) {
	found, err := m.list(raw)
	if err != nil {
		return TokenInfo{}, err
	}
	info, err := chooseToken(m.path, sel, found)
	switch {
	case err != nil:
		return TokenInfo{}, err
	case m.core(info) != nil:
		return TokenInfo{}, fmt.Errorf("%w: it is open in this process", ErrBusy)
	}
	return info, mayTrySOPIN(info)
}

// mayTrySOPIN is an error where a wrong PIN of the security officer would be the last.
func mayTrySOPIN(info TokenInfo) error {
	switch {
	case info.Flags.SOPINLocked:
		return ErrPINLocked
	case info.Flags.SOPINFinalTry:
		return ErrPINFinalTry
	}
	return nil
}

// withOfficer runs f in a session that is logged in as the security officer.
func withOfficer(raw library, slot uint, soPIN []byte, f func(pkcs11.SessionHandle) error) (err error) {
	s, err := raw.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
	if err != nil {
		return wrap("C_OpenSession", err)
	}
	defer func() { err = errors.Join(err, wrap("C_CloseSession", raw.CloseSession(s))) }()
	if err := raw.Login(s, pkcs11.CKU_SO, string(soPIN)); err != nil {
		return wrap("C_Login", err)
	}
	defer func() { _ = raw.Logout(s) }()
	return f(s)
}

// An officer is a session of the security officer.
type officer struct{ session session }

// Certificates returns what the security officer has marked. The mark is not
// searched for, because not every token can.
func (o officer) Certificates() (marked []Certificate, err error) {
	handles, err := o.session.find(pkcs11.CKO_CERTIFICATE, Filter{})
	if err != nil {
		return nil, err
	}
	for _, h := range handles {
		c, err := o.read(h)
		if err != nil {
			return nil, err
		}
		if c.Trusted {
			marked = append(marked, c)
		}
	}
	return marked, nil
}

func (o officer) read(h pkcs11.ObjectHandle) (Certificate, error) {
	a, err := o.session.attributes(h, pkcs11.CKA_LABEL, pkcs11.CKA_ID, pkcs11.CKA_VALUE, pkcs11.CKA_TRUSTED)
	return Certificate{
		Object:  Object{handle: uint(h)},
		Label:   string(a[pkcs11.CKA_LABEL]),
		ID:      a[pkcs11.CKA_ID],
		Value:   unpad(a.bytes(pkcs11.CKA_VALUE)),
		Trusted: a.bool(pkcs11.CKA_TRUSTED),
	}, err
}

// Create writes a certificate. CKA_TRUSTED can be set at this moment only.
func (o officer) Create(t CertificateTemplate) (Certificate, error) {
	required, err := requiredAttributes(t)
	if err != nil {
		return Certificate{}, err
	}
	h, err := o.session.raw.CreateObject(o.session.handle, slices.Concat(required, []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, false),
		pkcs11.NewAttribute(pkcs11.CKA_TRUSTED, true),
	}))
	if err != nil {
		return Certificate{}, wrap("C_CreateObject", err)
	}
	return o.read(h)
}

// Destroy removes an object.
func (o officer) Destroy(object Object) error {
	return wrap("C_DestroyObject", o.session.raw.DestroyObject(o.session.handle, pkcs11.ObjectHandle(object.handle)))
}
