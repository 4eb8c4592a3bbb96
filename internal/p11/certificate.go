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
func (h *handle) Certificates(ctx context.Context, f Filter) (certs []Certificate, err error) {
	err = h.with(ctx, func(v session) error {
		handles, err := v.find(pkcs11.CKO_CERTIFICATE, f)
		if err != nil {
			return err
		}
		for _, o := range handles {
			c, err := v.certificate(o)
			if codeOf(err) == ckrObjectHandleInvalid {
				continue // destroyed by somebody else since it was found
			}
			if err != nil {
				return err
			}
			certs = append(certs, c)
		}
		return nil
	})
	return certs, err
}

func (v session) certificate(h pkcs11.ObjectHandle) (Certificate, error) {
	a, err := v.attributes(h, pkcs11.CKA_LABEL, pkcs11.CKA_ID, pkcs11.CKA_VALUE,
		pkcs11.CKA_PRIVATE, pkcs11.CKA_TRUSTED, pkcs11.CKA_CERTIFICATE_CATEGORY)
	if err != nil {
		return Certificate{}, err
	}
	return Certificate{
		Object:   v.object(h),
		Label:    string(a[pkcs11.CKA_LABEL]),
		ID:       a[pkcs11.CKA_ID],
		Value:    unpad(a[pkcs11.CKA_VALUE]),
		Private:  a.bool(pkcs11.CKA_PRIVATE),
		Trusted:  a.bool(pkcs11.CKA_TRUSTED),
		Category: Category(a.ulong(pkcs11.CKA_CERTIFICATE_CATEGORY)),
	}, nil
}

// unpad drops the zero bytes that some tokens append to fill a fixed-size slot.
// Anything else behind the certificate stays, and is refused by who parses it.
func unpad(der []byte) []byte {
	var outer asn1.RawValue
	rest, err := asn1.Unmarshal(der, &outer)
	if err != nil || len(bytes.Trim(rest, "\x00")) > 0 {
		return der
	}
	return outer.FullBytes
}

// CreateCertificate writes one certificate object. What a token may not know or
// grant is left out one attribute after the other.
func (h *handle) CreateCertificate(ctx context.Context, t CertificateTemplate) (c Certificate, err error) {
	required, err := requiredAttributes(t)
	if err != nil {
		return Certificate{}, err
	}
	for _, optional := range optionalAttributes(t) {
		err = h.with(ctx, func(v session) error {
			o, err := v.raw.CreateObject(v.handle, slices.Concat(required, optional))
			if err != nil {
				return wrap("C_CreateObject", err)
			}
			c, err = v.certificate(o)
			return err
		})
		if !isTemplateRefusal(err) {
			break
		}
	}
	return c, err
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
func optionalAttributes(t CertificateTemplate) [][]*pkcs11.Attribute {
	category := pkcs11.NewAttribute(pkcs11.CKA_CERTIFICATE_CATEGORY, uint(t.Category))
	public := pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, false)
	sets := [][]*pkcs11.Attribute{{public, category}, {public}, {}}
	if t.Private {
		private := pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, true)
		sets = append([][]*pkcs11.Attribute{{private, category}, {private}}, sets...)
	}
	return sets
}

// isTemplateRefusal reports whether a token will not have an attribute.
func isTemplateRefusal(err error) bool {
	return slices.Contains([]uint{ckrAttributeReadOnly, ckrAttributeTypeInvalid, ckrAttributeValue, ckrTemplateInconsistent}, codeOf(err))
}

// Destroy removes objects.
func (h *handle) Destroy(ctx context.Context, objects ...Object) error {
	return h.with(ctx, func(v session) error {
		defer v.generation.forget()
		for _, o := range objects {
			if o.generation != v.generation.number {
				return ErrStale
			}
			if err := v.raw.DestroyObject(v.handle, pkcs11.ObjectHandle(o.handle)); err != nil {
				return wrap("C_DestroyObject", err)
			}
		}
		return nil
	})
}
