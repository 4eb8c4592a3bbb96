// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo

package p11

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"github.com/miekg/pkcs11"
)

var errDataTemplate = errors.New("data object without label, application or value")

// Data returns the data objects that match f. A token that does not know the
// class has none.
func (h *handle) Data(ctx context.Context, f DataFilter) ([]Data, error) {
	return object(ctx, h, true, func(v session) ([]Data, error) {
		handles, err := find(v.raw, v.handle, f.template()...)
		if isTemplateRefusal(err) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		return readAll(handles, v.data)
	})
}

func (f DataFilter) template() []*pkcs11.Attribute {
	template := []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_DATA)}
	if f.Label != "" {
		template = append(template, pkcs11.NewAttribute(pkcs11.CKA_LABEL, f.Label))
	}
	if f.Application != "" {
		template = append(template, pkcs11.NewAttribute(pkcs11.CKA_APPLICATION, f.Application))
	}
	return template
}

func (v session) data(h pkcs11.ObjectHandle) (Data, error) {
	a, err := v.attributes(h, pkcs11.CKA_LABEL, pkcs11.CKA_APPLICATION, pkcs11.CKA_VALUE, pkcs11.CKA_PRIVATE)
	if err != nil {
		return Data{}, err
	}
	return Data{
		Object:      v.object(h),
		Label:       string(a[pkcs11.CKA_LABEL]),
		Application: string(a[pkcs11.CKA_APPLICATION]),
		Value:       a.bytes(pkcs11.CKA_VALUE),
		Private:     a.bool(pkcs11.CKA_PRIVATE),
	}, nil
}

// CreateData writes one data object. A wish for privacy that the token does not
// grant is given up. An answer that was lost is looked for before the object is
// written again.
func (h *handle) CreateData(ctx context.Context, t DataTemplate) (d Data, err error) {
	if t.Label == "" || t.Application == "" || len(t.Value) == 0 {
		return Data{}, errDataTemplate
	}
	write := func() (err error) {
		for _, access := range dataAccess(t) {
			d, err = h.createData(ctx, slices.Concat(t.required(), access))
			if !isTemplateRefusal(err) {
				break
			}
		}
		return err
	}
	there := func() (bool, error) {
		found, err := h.Data(ctx, DataFilter{Label: t.Label, Application: t.Application})
		for _, f := range found {
			if bytes.Equal(f.Value, t.Value) {
				d = f
				return true, nil
			}
		}
		return false, err
	}
	err = confirm(write, there)
	return d, err
}

func (h *handle) createData(ctx context.Context, template []*pkcs11.Attribute) (Data, error) {
	return object(ctx, h, false, func(v session) (Data, error) {
		o, err := v.raw.CreateObject(v.handle, template)
		if err != nil {
			return Data{}, wrap("C_CreateObject", err)
		}
		return v.data(o)
	})
}

func (t DataTemplate) required() []*pkcs11.Attribute {
	return []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_DATA),
		pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true),
		pkcs11.NewAttribute(pkcs11.CKA_LABEL, t.Label),
		pkcs11.NewAttribute(pkcs11.CKA_APPLICATION, t.Application),
		pkcs11.NewAttribute(pkcs11.CKA_VALUE, t.Value),
	}
}

// dataAccess are the attributes to try, the best first. PKCS#11 leaves the
// default of CKA_PRIVATE to the token, so a public object says so.
func dataAccess(t DataTemplate) [][]*pkcs11.Attribute {
	public := []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, false)}
	if !t.Private {
		return [][]*pkcs11.Attribute{public, nil}
	}
	return [][]*pkcs11.Attribute{{pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, true)}, public, nil}
}
