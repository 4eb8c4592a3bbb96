// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo

package p11

import (
	"bytes"
	"context"
	"encoding/asn1"
	"errors"
	"sync"
	"time"

	"github.com/miekg/pkcs11"
)

// certificate reads one object.
func (v session) certificate(h pkcs11.ObjectHandle) (Certificate, error) {
	a, err := v.attributes(h, pkcs11.CKA_VALUE, pkcs11.CKA_ID, pkcs11.CKA_LABEL,
		pkcs11.CKA_PRIVATE, pkcs11.CKA_TRUSTED, pkcs11.CKA_CERTIFICATE_CATEGORY)
	if err != nil {
		return Certificate{}, err
	}
	return Certificate{
		Object:   v.object(h),
		Label:    string(a[pkcs11.CKA_LABEL]),
		ID:       a.bytes(pkcs11.CKA_ID),
		Value:    unpad(a.bytes(pkcs11.CKA_VALUE)),
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

// CertificateObjects lists the certificate objects without reading them.
func (h *handle) CertificateObjects(ctx context.Context) ([]Object, error) {
	return object(ctx, h, true, func(v session) ([]Object, error) {
		handles, err := v.find(pkcs11.CKO_CERTIFICATE, Filter{})
		if err != nil {
			return nil, err
		}
		all := make([]Object, len(handles))
		for i, o := range handles {
			all[i] = v.object(o)
		}
		return all, nil
	})
}

// How certificates are read when there are many. A module that answers sooner
// than slowCall is a library at work on this machine: SoftHSM 2.6.1 reads no
// faster in several sessions, it waits for its own locks. Behind a slower one is a
// device, or a network, that does several things at once.
const (
	readSample = 8
	readBatch  = 64
	slowCall   = 500 * time.Microsecond
)

// ReadCertificates reads certificate objects, in several sessions if the token is
// slow.
func (h *handle) ReadCertificates(ctx context.Context, objects []Object) ([]Certificate, error) {
	return exclusive(ctx, h, func() ([]Certificate, error) {
		sample := min(readSample, len(objects))
		began := time.Now()
		all, err := h.readBatch(ctx, objects[:sample])
		if err != nil {
			return nil, err
		}
		sessions := 1
		if time.Since(began) > slowCall*readSample {
			sessions = max(1, h.core.sessions-1) // one is left to those who sign
		}
		rest, err := h.readShared(ctx, objects[sample:], sessions)
		return append(all, rest...), err
	})
}

// readShared reads batches in so many sessions at once. The first error ends it.
func (h *handle) readShared(ctx context.Context, objects []Object, sessions int) ([]Certificate, error) {
	batches := (len(objects) + readBatch - 1) / readBatch
	read, errs := make([][]Certificate, batches), make([]error, sessions)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var working sync.WaitGroup
	for w := range sessions {
		working.Go(func() {
			for b := w; b < batches && errs[w] == nil; b += sessions {
				read[b], errs[w] = h.readBatch(ctx, objects[b*readBatch:min((b+1)*readBatch, len(objects))])
			}
			if errs[w] != nil {
				cancel()
			}
		})
	}
	working.Wait()
	all := make([]Certificate, 0, len(objects))
	for _, some := range read {
		all = append(all, some...)
	}
	return all, firstCause(errs)
}

// firstCause prefers what went wrong to the cancellation that followed from it.
func firstCause(errs []error) (first error) {
	for _, err := range errs {
		if err != nil && (first == nil || errors.Is(first, context.Canceled)) {
			first = err
		}
	}
	return first
}

// readBatch reads objects in one session. Those that have vanished are left out.
func (h *handle) readBatch(ctx context.Context, objects []Object) ([]Certificate, error) {
	if len(objects) == 0 {
		return nil, nil
	}
	return use(ctx, h, true, func(v session) ([]Certificate, error) { return readEach(v, objects, session.certificate) })
}

// softHSM is the manufacturer of tokens of SoftHSM, which numbers objects as it
// meets them and never gives a number to a second one.
const softHSM = "SoftHSM project"

// KeepsHandles reports whether an object that is found again is the one it was.
func (h *handle) KeepsHandles() bool { return h.core.info.Manufacturer == softHSM }
