// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo

package p11

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"slices"

	"github.com/miekg/pkcs11"
)

// Certificates returns the certificate objects that match f.
func (h *handle) Certificates(ctx context.Context, f Filter) ([]Certificate, error) {
	return object(ctx, h, true, func(v session) ([]Certificate, error) {
		return collect(v, pkcs11.CKO_CERTIFICATE, f, v.certificate)
	})
}

// collect reads the objects of a class that match f.
func collect[T any](v session, class uint, f Filter, read func(pkcs11.ObjectHandle) (T, error)) ([]T, error) {
	handles, err := v.find(class, f)
	if err != nil {
		return nil, err
	}
	return readAll(handles, read)
}

// readAll reads objects. Those that have vanished since they were found are left out.
func readAll[T any](handles []pkcs11.ObjectHandle, read func(pkcs11.ObjectHandle) (T, error)) ([]T, error) {
	all := make([]T, 0, len(handles))
	for _, o := range handles {
		one, err := read(o)
		if codeOf(err) == ckrObjectHandleInvalid {
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, nil
}

// CreateCertificate writes one certificate object. What a token may not know or
// grant is left out one attribute after the other. An answer that was lost is
// looked for before the object is written again.
func (h *handle) CreateCertificate(ctx context.Context, t CertificateTemplate) (c Certificate, err error) {
	required, err := requiredAttributes(t)
	if err != nil {
		return Certificate{}, err
	}
	write := func() (err error) {
		for _, optional := range optionalAttributes(t) {
			c, err = h.create(ctx, slices.Concat(required, optional))
			if !isTemplateRefusal(err) {
				break
			}
		}
		return err
	}
	there := func() (bool, error) {
		found, err := h.Certificates(ctx, Filter{Label: t.Label, ID: t.ID})
		for _, f := range found {
			if bytes.Equal(f.Value, t.Value) {
				c = f
				return true, nil
			}
		}
		return false, err
	}
	err = confirm(write, there)
	return c, err
}

func (h *handle) create(ctx context.Context, template []*pkcs11.Attribute) (Certificate, error) {
	return object(ctx, h, false, func(v session) (Certificate, error) {
		o, err := v.raw.CreateObject(v.handle, template)
		if err != nil {
			return Certificate{}, wrap("C_CreateObject", err)
		}
		return v.certificate(o)
	})
}

// requiredAttributes are the attributes of PKCS#11 v2.40 section 4.6.3 that
// every token knows.
func requiredAttributes(t CertificateTemplate) ([]*pkcs11.Attribute, error) {
	if t.Label == "" {
		return nil, fmt.Errorf("certificate object without a label")
	}
	cert, err := x509.ParseCertificate(t.Value)
	if err != nil {
		return nil, err
	}
	serial, err := asn1.Marshal(cert.SerialNumber)
	if err != nil {
		return nil, err
	}
	return []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_CERTIFICATE),
		pkcs11.NewAttribute(pkcs11.CKA_CERTIFICATE_TYPE, pkcs11.CKC_X_509),
		pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true),
		pkcs11.NewAttribute(pkcs11.CKA_LABEL, t.Label),
		pkcs11.NewAttribute(pkcs11.CKA_ID, t.ID),
		pkcs11.NewAttribute(pkcs11.CKA_SUBJECT, cert.RawSubject),
		pkcs11.NewAttribute(pkcs11.CKA_ISSUER, cert.RawIssuer),
		pkcs11.NewAttribute(pkcs11.CKA_SERIAL_NUMBER, serial),
		pkcs11.NewAttribute(pkcs11.CKA_VALUE, t.Value),
	}, nil
}

// optionalAttributes are the sets to try, the best first. PKCS#11 leaves the
// default of CKA_PRIVATE to the token, so a public object says so.
func optionalAttributes(t CertificateTemplate) (sets [][]*pkcs11.Attribute) {
	category := pkcs11.NewAttribute(pkcs11.CKA_CERTIFICATE_CATEGORY, uint(t.Category))
	public := []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, false)}
	private := []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, true)}
	access := [][]*pkcs11.Attribute{public, nil}
	if t.Private {
		access = [][]*pkcs11.Attribute{private, public, nil}
	}
	for _, a := range access {
		sets = append(sets, append(a[:len(a):len(a)], category), a)
	}
	return sets
}

// isTemplateRefusal reports whether a token will not have an attribute.
func isTemplateRefusal(err error) bool {
	return slices.Contains([]uint{ckrAttributeReadOnly, ckrAttributeTypeInvalid, ckrAttributeValue, ckrTemplateInconsistent}, codeOf(err))
}

// Destroy removes objects.
func (h *handle) Destroy(ctx context.Context, objects ...Object) error {
	_, err := object(ctx, h, false, func(v session) (struct{}, error) {
		defer v.pool.generation.forget()
		for _, o := range objects {
			if o.generation != v.pool.generation.number {
				return struct{}{}, ErrStale
			}
			if err := v.raw.DestroyObject(v.handle, pkcs11.ObjectHandle(o.handle)); err != nil {
				return struct{}{}, wrap("C_DestroyObject", err)
			}
		}
		return struct{}{}, nil
	})
	return err
}
