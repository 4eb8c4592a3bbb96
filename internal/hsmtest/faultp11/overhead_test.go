// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build unix && cgo

package faultp11_test

import (
	"testing"

	"github.com/miekg/pkcs11"
	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/hsmtest/faultp11"
)

// BenchmarkOverhead shows what a fault module without faults costs a call: the
// difference of one and two of them before the same SoftHSM.
func BenchmarkOverhead(b *testing.B) {
	one := faultp11.New(b)
	one.Config(b)
	two := faultp11.Over(b, one.Path)
	for name, m := range map[string]*faultp11.Module{"one": one, "two": two} {
		b.Run(name, func(b *testing.B) {
			c := pkcs11.New(m.Path)
			require.NotNil(b, c)
			require.NoError(b, c.Initialize())
			defer func() { require.NoError(b, c.Finalize()) }()
			slots, err := c.GetSlotList(true)
			require.NoError(b, err)
			s, err := c.OpenSession(slots[0], pkcs11.CKF_SERIAL_SESSION)
			require.NoError(b, err)
			for b.Loop() {
				_, err = c.GetSessionInfo(s)
			}
			require.NoError(b, err)
		})
	}
}
