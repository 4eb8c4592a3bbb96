// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package pairing

import (
	"crypto/x509"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestIssuerCheck(t *testing.T) {
	t.Parallel()
	now := time.Now()
	good := newIssuer(t)
	end := good.Chain[0].NotAfter
	for name, test := range map[string]struct {
		issuer *Issuer
		at     time.Time
		want   error
	}{
		"none":         {nil, now, ErrIncomplete},
		"no key":       {&Issuer{Chain: good.Chain}, now, ErrIncomplete},
		"no chain":     {&Issuer{Key: good.Key}, now, ErrIncomplete},
		"no root":      {&Issuer{Key: good.Key, Chain: good.Chain[:1]}, now, ErrIncomplete},
		"nil in chain": {&Issuer{Key: good.Key, Chain: []*x509.Certificate{good.Chain[0], nil}}, now, ErrIncomplete},
		"lifetime":     {&Issuer{Key: good.Key, Chain: good.Chain, Lifetime: maxLifetime + 1}, now, ErrIncomplete},
		"other key":    {&Issuer{Key: newKey(t), Chain: good.Chain}, now, ErrIssuer},
		"no CA":        {&Issuer{Key: good.Key, Chain: good.Chain[1:]}, now, ErrIncomplete},
		"root as CA":   {&Issuer{Key: good.Key, Chain: []*x509.Certificate{good.Chain[1], good.Chain[1]}}, now, ErrIssuer},
		"early":        {good, now.Add(-time.Hour), ErrIssuer},
		"expired":      {good, end.Add(time.Second), ErrIssuer},
		"expires soon": {good, end.Add(-RenewalTime + time.Second), ErrExpiring},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := test.issuer.Check(test.at)
			require.ErrorIs(t, err, test.want)
			var why *IssuerError
			require.ErrorAs(t, err, &why)
			require.Error(t, why.Err)
			if test.want == ErrExpiring {
				require.Equal(t, good.Chain[0], why.Certificate)
			}
		})
	}
	require.NoError(t, good.Check(now))
	require.NoError(t, good.Check(end.Add(-RenewalTime-time.Second)))
}

// TestServeChecksTheIssuer refuses to serve with a CA that cannot issue, and serves
// with one that still can.
func TestServeChecksTheIssuer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(x *Terminal) { x.Issuer.Key = newKey(t) })
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	err = w.Serve(t.Context(), ln)
	require.ErrorIs(t, err, ErrIssuer)
	require.ErrorAs(t, err, new(*IssuerError))
	_, err = ln.Accept()
	require.ErrorIs(t, err, net.ErrClosed)

	late := serve(t, withHandler, func(x *Terminal) {
		x.Issuer = newIssuerAt(t, time.Now().Add(-caLifetime+RenewalTime/2))
	})
	_, b := late.paired(t, "1")
	require.True(t, b.Expires().Before(time.Now().Add(RenewalTime)))
}
