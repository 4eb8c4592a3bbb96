// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"context"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/alias"
	"github.com/hsmtls/hsmtls-go/internal/p11"
	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

// Refusal leaves the token and the store as they were.
func TestInjectRefuses(t *testing.T) {
	t.Parallel()
	a := newAcquirer()
	rsaRoot := testpki.NewRootWithKey("rsa root", rsa2048())
	f := newFaulty(t)
	cfg := Config{Anchors: Anchors{Acquirer: certs(a.root.Certificate, rsaRoot.Certificate)}}
	s, err := open(t.Context(), f, cfg)
	require.NoError(t, err)
	first := a.lower.Server("first.example.com").Leaf
	_, err = s.Inject(t.Context(), "first", a.sent(first)...)
	require.NoError(t, err)
	f.plant(t, "terminal_pub", []byte("some key's id"), a.lower.Client("terminal").Leaf)

	good := a.lower.Server("host.example.com").Leaf
	expired := a.lower.Issue(&x509.Certificate{
		Subject: good.Subject, DNSNames: good.DNSNames, ExtKeyUsage: good.ExtKeyUsage,
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour),
	}, a.lower.Key.Public())
	weak := a.lower.Issue(testpki.ServerTemplate("host.example.com"), rsa1024().Public())
	sha1 := forge(t, rsaRoot, rsaRoot.Server("host.example.com").Leaf, func(f []asn1.RawValue) { f[2].FullBytes = sha1WithRSA(t) })
	noUsage := testpki.ServerTemplate("host.example.com")
	noUsage.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}
	wrongUsage := a.lower.Issue(noUsage, a.lower.Key.Public())
	stranger := testpki.NewRoot("stranger")
	is := func(want error) func(*testing.T, error) {
		return func(t *testing.T, err error) { require.ErrorIs(t, err, want) }
	}

	before, generation := f.labels(t), s.Generation()
	for _, tt := range []struct {
		name     string
		alias    string
		chain    []*x509.Certificate
		rejected bool
		want     func(*testing.T, error)
	}{
		{"empty alias", "", a.sent(good), false, is(alias.ErrEmpty)},
		{"reserved alias", "issuer 1", a.sent(good), false, is(alias.ErrReserved)},
		{"nothing", "host", nil, false, func(t *testing.T, err error) { require.Error(t, err) }},
		{"nil", "host", certs(nil), false, func(t *testing.T, err error) { require.Error(t, err) }},
		{"nil issuer", "host", certs(good, nil), false, func(t *testing.T, err error) { require.Error(t, err) }},
		{"stranger", "host", certs(stranger.Server("host.example.com").Leaf), true, isUnknownAuthority},
		{"stranger's root sent along", "host", certs(stranger.Server("host.example.com").Leaf, stranger.Certificate), true, isUnknownAuthority},
		{"unsigned", "host", certs(selfSigned(t)), true, isUnknownAuthority},
		{"self-signed CA", "host", certs(stranger.Certificate), true, isUnknownAuthority},
		{"no way to the anchor", "host", certs(testpki.NewRoot("x").NewIntermediate("y").Server("host.example.com").Leaf), true, isUnknownAuthority},
		{"expired", "host", certs(expired, a.lower.Certificate, a.upper.Certificate), true, isInvalid(x509.Expired)},
		{"RSA-1024", "host", a.sent(weak), true, isRule("key")},
		{"SHA-1", "host", certs(sha1), true, isRule("signature")},
		{"wrong usage", "host", a.sent(wrongUsage), true, isRule("leaf-eku-purpose")},
		{"two certificates where one is meant", "host", append(a.sent(good), a.lower.Server("two.example.com").Leaf), true, is(ErrUnrelated)},
		{"unneeded issuer", "host", append(a.sent(good), stranger.Certificate), true, is(ErrUnrelated)},
		{"alias of an entry", "first", a.sent(good), false, is(ErrExists)},
		{"alias of an identity", "terminal_pub", a.sent(good), false, is(ErrExists)},
		{"certificate under another alias", "second", a.sent(first), false, is(ErrExists)},
	} {
		e, err := s.Inject(t.Context(), tt.alias, tt.chain...)
		require.Empty(t, e, tt.name)
		var refusal *RejectedError
		if tt.rejected {
			require.ErrorAs(t, err, &refusal, tt.name)
		} else {
			require.NotErrorAs(t, err, &refusal, tt.name)
		}
		tt.want(t, err)
		var op *Error
		require.ErrorAs(t, err, &op, tt.name)
		require.Equal(t, tt.alias, op.Alias)
		require.ElementsMatch(t, before, f.labels(t), tt.name)
	}
	require.Equal(t, generation, s.Generation())
	require.Len(t, s.Entries(), 1)
}

// The issuers of one entry serve the next, and stay while it needs them.
func TestIssuersAreShared(t *testing.T) {
	t.Parallel()
	a := newAcquirer()
	f := newFaulty(t)
	s := a.open(t, f)
	one, two := a.lower.Server("one.example.com").Leaf, a.lower.Server("two.example.com").Leaf
	_, err := s.Inject(t.Context(), "one", a.sent(one)...)
	require.NoError(t, err)
	_, err = s.Inject(t.Context(), "two", two)
	require.NoError(t, err, "the issuers are known from the first")
	require.Len(t, f.labels(t), 4)

	require.NoError(t, s.Remove(t.Context(), "one"))
	require.Len(t, f.labels(t), 3)
	require.NoError(t, s.Refresh(t.Context()))
	require.Len(t, s.Entries(), 1)
	require.NoError(t, s.Remove(t.Context(), "two"))
	require.Empty(t, f.labels(t))
}

// An issuing CA is an entry of its own, beside being the issuer of others.
func TestIssuerAndEntry(t *testing.T) {
	t.Parallel()
	a := newAcquirer()
	f := newFaulty(t)
	s := a.open(t, f)
	host := a.lower.Server("host.example.com").Leaf
	_, err := s.Inject(t.Context(), "host", a.sent(host)...)
	require.NoError(t, err)
	_, err = s.Inject(t.Context(), "lower", a.lower.Certificate)
	require.NoError(t, err)
	found, err := f.Certificates(t.Context(), p11.Filter{Label: "lower"})
	require.NoError(t, err)
	require.Equal(t, p11.CategoryAuthority, found[0].Category)

	require.NoError(t, s.Remove(t.Context(), "lower"))
	require.NoError(t, s.Refresh(t.Context()))
	require.Empty(t, s.Rejected(), "the proof of host does not hang on the removed entry")
	require.Len(t, s.Entries(), 1)
}

func TestInjectIsNotStored(t *testing.T) {
	t.Parallel()
	a := newAcquirer()
	f := newFaulty(t)
	s := a.open(t, f)
	f.forget = true
	_, err := s.Inject(t.Context(), "root", a.root.Certificate)
	require.ErrorIs(t, err, ErrNotStored)
	require.Empty(t, s.Entries())

	f.forget = false
	server := a.root.Server("host.example.com").Leaf
	f.seen = func(found []p11.Certificate) { // a bit is lost between write and read
		for i := range found {
			found[i].Value[len(found[i].Value)-1] ^= 1
		}
	}
	_, err = s.Inject(t.Context(), "host", server)
	require.ErrorIs(t, err, ErrNotStored)
	require.Empty(t, f.labels(t), "what was written is taken back")
}

// Whichever call fails, the token has the old objects or all the new ones.
func TestInjectFails(t *testing.T) {
	t.Parallel()
	for kind, seen := range tokenKinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			a := newAcquirer()
			f := newFaulty(t)
			f.seen = seen
			s := a.open(t, f)
			server := a.lower.Server("host.example.com").Leaf
			for call := 1; ; call++ {
				require.Less(t, call, 50)
				f.arm(call)
				_, err := s.Inject(t.Context(), "host", a.sent(server)...)
				if err == nil {
					require.Greater(t, call, 8)
					break
				}
				require.ErrorIs(t, err, errDevice)
				require.Empty(t, f.labels(t), "call %d", call)
				require.Empty(t, s.Entries())
			}
			require.Len(t, s.Entries(), 1)
		})
	}
}

// tokenKinds are what there is of tokens for Inject: whether it keeps handles.
var tokenKinds = map[string]func([]p11.Certificate){
	"keeps handles":  nil,
	"reuses handles": func([]p11.Certificate) {},
}

// Inject calls the token as often as its comment says.
func TestInjectCalls(t *testing.T) {
	t.Parallel()
	for kind, listing := range map[string]int{"keeps handles": 1, "reuses handles": 2 + 2} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			a := newAcquirer()
			f := newFaulty(t)
			f.seen = tokenKinds[kind]
			s := a.open(t, f)
			read := 1
			if listing > 1 { // what is asked for is read at once
				read = 0
			}
			inject := func(name string, want int, chain ...*x509.Certificate) {
				f.arm(0)
				_, err := s.Inject(t.Context(), name, chain...)
				require.NoError(t, err)
				require.Equal(t, want, f.calls)
			}
			first := a.sent(a.lower.Server("first.example.com").Leaf)
			inject("first", listing+2+listing+read+1+listing+read, first...)
			inject("second", listing+1+listing+read, a.sent(a.lower.Server("second.example.com").Leaf)...)
			inject("second", listing, s.Entries()[1].Certificate)
			names := make([]string, 0, 60)
			for i := range cap(names) {
				names = append(names, fmt.Sprintf("a-host-with-a-rather-long-name-%d.example.com", i))
			}
			inject("long", listing+1+2+listing+read, a.sent(a.lower.Server(names...).Leaf)...)
		})
	}
}

// A context that ends during the write does not leave half of it.
func TestInjectCancelled(t *testing.T) {
	t.Parallel()
	a := newAcquirer()
	f := newFaulty(t)
	s := a.open(t, f)
	ctx, cancel := context.WithCancel(t.Context())
	f.onCreate = func(_ context.Context, t p11.CertificateTemplate) {
		if t.Label == "host" {
			cancel()
		}
	}
	_, err := s.Inject(ctx, "host", a.sent(a.lower.Server("host.example.com").Leaf)...)
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, f.labels(t))
}

// Another process may take the alias between the question and the write.
func TestInjectLosesRace(t *testing.T) {
	t.Parallel()
	a := newAcquirer()
	f := newFaulty(t)
	s := a.open(t, f)
	f.onCreate = func(_ context.Context, tmpl p11.CertificateTemplate) {
		if tmpl.Label == "host" {
			f.plant(t, "host", []byte("an identity"), a.lower.Client("terminal").Leaf)
		}
	}
	_, err := s.Inject(t.Context(), "host", a.lower.Server("host.example.com").Leaf, a.lower.Certificate, a.upper.Certificate)
	require.ErrorIs(t, err, ErrExists)
	require.Equal(t, []string{"host"}, f.labels(t))
	require.Empty(t, s.Entries())
}

// A store that has not seen another one's removal replaces the stale entry.
func TestInjectOverStaleSnapshot(t *testing.T) {
	t.Parallel()
	a := newAcquirer()
	f := newFaulty(t)
	s, other := a.open(t, f), a.open(t, f)
	old, now := a.root.Server("old.example.com").Leaf, a.root.Server("new.example.com").Leaf
	_, err := s.Inject(t.Context(), "host", old)
	require.NoError(t, err)
	require.NoError(t, other.Remove(t.Context(), "host"))
	_, err = s.Inject(t.Context(), "host", now)
	require.NoError(t, err)
	require.Len(t, s.Entries(), 1)
	require.Equal(t, now, s.Entries()[0].Certificate)
}
