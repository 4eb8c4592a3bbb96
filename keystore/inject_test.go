// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package keystore

import (
	"context"
	"crypto/x509"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	names "github.com/hsmtls/hsmtls-go/internal/alias"
	"github.com/hsmtls/hsmtls-go/internal/p11"
	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

func TestInject(t *testing.T) {
	t.Parallel()
	s := open(t)
	root := testpki.NewRoot("root")
	ca := root.NewIntermediate("issuing")
	key := generate(t, s, "terminal")
	chain := append(issue(ca, "terminal", key.Public()), root.Certificate)
	require.NoError(t, s.Inject(t.Context(), "terminal_pub", "terminal", chain))

	found, err := s.device.Certificates(t.Context(), p11.Filter{})
	require.NoError(t, err)
	require.Len(t, found, 3)
	byLabel := map[string]p11.Certificate{}
	for _, c := range found {
		byLabel[c.Label] = c
	}
	leaf := byLabel["terminal_pub"]
	require.Equal(t, key.Info().ID, leaf.ID)
	require.Equal(t, chain[0].Raw, leaf.Value)
	require.Equal(t, p11.CategoryTokenUser, leaf.Category)
	require.False(t, leaf.Private)
	for _, c := range chain[1:] {
		issuer := byLabel[names.IssuerLabel(c.Raw)]
		require.Equal(t, names.IssuerID(c.Raw), issuer.ID)
		require.Equal(t, c.Raw, issuer.Value)
		require.Equal(t, p11.CategoryAuthority, issuer.Category)
	}
}

func TestInjectTwiceIsNoOp(t *testing.T) {
	t.Parallel()
	s := open(t)
	_, chain := identity(t, s, "terminal_pub", "terminal")
	before := contents(t, s.device)
	require.NoError(t, s.Inject(t.Context(), "terminal_pub", "terminal", chain))
	require.NoError(t, s.Inject(t.Context(), "terminal_pub", "terminal", chain[:1]))
	require.Equal(t, before, contents(t, s.device))
}

// TestInjectSharesIssuers gives one key two identities from one CA and a third
// from another.
func TestInjectSharesIssuers(t *testing.T) {
	t.Parallel()
	s := open(t)
	key, _ := identity(t, s, "one", "terminal")
	require.NoError(t, s.Inject(t.Context(), "two", "terminal", issue(authority(), "two", key.Public())))
	other := testpki.NewRoot("other root").NewIntermediate("other issuing")
	require.NoError(t, s.Inject(t.Context(), "three", "terminal", issue(other, "three", key.Public())))
	require.Len(t, contents(t, s.device), 3+2)

	for alias, ca := range map[string]*testpki.CA{"one": authority(), "two": authority(), "three": other} {
		id, err := s.Identity(t.Context(), alias)
		require.NoError(t, err)
		require.Equal(t, alias, id.Chain[0].Subject.CommonName)
		require.Equal(t, ca.Chain(), id.Chain[1:])
		require.Equal(t, "terminal", id.Key.Info().Alias)
	}
}

func TestInjectRefuses(t *testing.T) {
	t.Parallel()
	s := open(t)
	key, chain := identity(t, s, "taken", "terminal")
	generate(t, s, "other")
	trusted := testpki.NewRoot("trusted").Server("host.test").Leaf
	write(t, s, "acquirer-host", names.TrustID(trusted.Raw), trusted)
	before := contents(t, s.device)
	fresh := issue(authority(), "fresh", key.Public())

	tests := []struct {
		name     string
		alias    string
		keyAlias string
		chain    []*x509.Certificate
		want     error
	}{
		{"certificate of another key", "free", "other", fresh, ErrMismatch},
		{"no such key", "free", "nobody", fresh, ErrNotFound},
		{"alias of another identity", "taken", "terminal", fresh, ErrExists},
		{"alias of a trusted entry", "acquirer-host", "terminal", fresh, ErrExists},
		{"same certificate, other key alias", "taken", "other", chain, ErrMismatch},
		{"no certificate", "free", "terminal", nil, ErrChain},
		{"wrong order", "free", "terminal", []*x509.Certificate{fresh[1], fresh[0]}, ErrChain},
		{"weak", "free", "terminal", []*x509.Certificate{authority().Issue(testpki.ClientTemplate("x"), weakRSA(t).Public())}, ErrWeak},
		{"empty alias", "", "terminal", fresh, names.ErrEmpty},
		{"empty key alias", "free", "", fresh, names.ErrEmpty},
		{"reserved alias", "issuer 1", "terminal", fresh, names.ErrReserved},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := s.Inject(t.Context(), test.alias, test.keyAlias, test.chain)
			require.ErrorIs(t, err, test.want)
			var typed *Error
			require.ErrorAs(t, err, &typed)
			require.Equal(t, test.alias, typed.Alias)
			require.Equal(t, before, contents(t, s.device))
		})
	}
}

func TestInjectAsksTheClock(t *testing.T) {
	t.Parallel()
	s := open(t)
	key := generate(t, s, "terminal")
	chain := issue(authority(), "terminal", key.Public())
	s.Now = func() time.Time { return chain[0].NotAfter.Add(time.Hour) }
	var invalid x509.CertificateInvalidError
	require.ErrorAs(t, s.Inject(t.Context(), "terminal_pub", "terminal", chain), &invalid)
	s.Now = func() time.Time { return chain[0].NotAfter.Add(-time.Hour) }
	require.NoError(t, s.Inject(t.Context(), "terminal_pub", "terminal", chain))
}

// TestInjectRefusesCrossSignedIssuer shows why: the identity that is there would
// be sent with the other issuer.
func TestInjectRefusesCrossSignedIssuer(t *testing.T) {
	t.Parallel()
	s := open(t)
	key, _ := identity(t, s, "one", "terminal")
	elsewhere := testpki.NewRoot("elsewhere")
	cross := elsewhere.Issue(&x509.Certificate{
		Subject: authority().Certificate.Subject, IsCA: true, BasicConstraintsValid: true,
		NotAfter: authority().Certificate.NotAfter.Add(time.Hour),
	}, authority().Key.Public())
	chain := []*x509.Certificate{issue(authority(), "two", key.Public())[0], cross}
	before := contents(t, s.device)
	require.ErrorIs(t, s.Inject(t.Context(), "two", "terminal", chain), ErrAmbiguous)
	require.Equal(t, before, contents(t, s.device))
}

// TestInjectOlderIssuer shows that what would not be sent is not accepted.
func TestInjectOlderIssuer(t *testing.T) {
	t.Parallel()
	s := open(t)
	root := testpki.NewRoot("root")
	ca := root.NewIntermediate("issuing")
	key := generate(t, s, "terminal")
	require.NoError(t, s.Inject(t.Context(), "one", "terminal", issue(ca, "one", key.Public())))
	older := root.Issue(&x509.Certificate{
		Subject: ca.Certificate.Subject, IsCA: true, BasicConstraintsValid: true, NotAfter: time.Now().Add(time.Hour),
	}, ca.Key.Public())
	before := contents(t, s.device)
	err := s.Inject(t.Context(), "two", "terminal", []*x509.Certificate{issue(ca, "two", key.Public())[0], older})
	require.ErrorIs(t, err, ErrAmbiguous)
	require.Equal(t, before, contents(t, s.device))
}

func TestInjectAtTheSameMoment(t *testing.T) {
	t.Parallel()
	s := open(t)
	key := generate(t, s, "terminal")
	first, second := issue(authority(), "first", key.Public()), issue(authority(), "second", key.Public())
	var done bool
	odd := &oddToken{Token: s.device, gate: func(op string) error {
		if op == "CreateCertificate" && !done { // after the look for the alias
			done = true
			return s.Inject(t.Context(), "terminal_pub", "terminal", first)
		}
		return nil
	}}
	require.ErrorIs(t, newStore(odd).Inject(t.Context(), "terminal_pub", "terminal", second), ErrExists)
	id, err := s.Identity(t.Context(), "terminal_pub")
	require.NoError(t, err)
	require.Equal(t, first, id.Chain)
}

func TestInjectNotStored(t *testing.T) {
	t.Parallel()
	s := open(t)
	key := generate(t, s, "terminal")
	chain := issue(authority(), "terminal", key.Public())
	odd := &forgetfulToken{s.device}
	require.ErrorIs(t, newStore(odd).Inject(t.Context(), "terminal_pub", "terminal", chain), ErrNotStored)
	require.Empty(t, contents(t, s.device))
}

var errBroken = errors.New("token is broken")

// failing returns a gate that fails at the nth call, and at all later ones if it
// is for good. It counts the calls that came.
func failing(nth int, forGood bool, calls *int) func(string) error {
	return func(string) error {
		*calls++
		if *calls == nth || forGood && *calls > nth {
			return errBroken
		}
		return nil
	}
}

// A failure is a way to fail at the nth call.
type failure struct {
	name    string
	after   bool // after it has had its effect
	forGood bool // and at all later calls
}

var allFailures = []failure{
	{"fails once", false, false},
	{"fails once, having done it", true, false},
	{"fails from then on", false, true},
	{"fails from then on, having done it", true, true},
}

// eachCall runs f with a store and a token whose nth call fails, before or after
// it has had its effect, for every n there is. The store has the key "terminal",
// and no certificates after f.
func eachCall(t *testing.T, modes []failure, f func(t *testing.T, s *Store, key *Key, broken *Store) error) {
	t.Helper()
	for _, mode := range modes {
		t.Run(mode.name, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			key := generate(t, s, "terminal")
			for n := 1; ; n++ {
				calls := 0
				odd := &oddToken{Token: s.device, gate: failing(n, mode.forGood, &calls)}
				if mode.after {
					odd.gate, odd.afterwards = afterEffect(n, mode.forGood, &calls)
				}
				broken := newStore(odd)
				broken.proofs.done = s.proofs.done
				err := f(t, s, key, broken)
				require.Empty(t, contents(t, s.device))
				if calls < n {
					require.NoError(t, err)
					require.Greater(t, n, 5, "the token was hardly asked")
					return
				}
			}
		})
	}
}

// afterEffect lets the nth call through and then denies it; later ones are not
// let through if it is for good.
func afterEffect(nth int, forGood bool, calls *int) (gate, afterwards func(string) error) {
	gate = func(string) error {
		*calls++
		if forGood && *calls > nth {
			return errBroken
		}
		return nil
	}
	afterwards = func(string) error {
		if *calls == nth {
			return errBroken
		}
		return nil
	}
	return gate, afterwards
}

// TestInjectAllOrNothing breaks the token at every call.
func TestInjectAllOrNothing(t *testing.T) {
	t.Parallel()
	eachCall(t, allFailures, func(t *testing.T, s *Store, key *Key, broken *Store) error {
		chain := issue(authority(), "terminal", key.Public())
		err := broken.Inject(t.Context(), "terminal_pub", "terminal", chain)

		id, found := s.Identity(t.Context(), "terminal_pub")
		if found == nil {
			require.Equal(t, chain, id.Chain) // never half of it
		} else {
			require.ErrorIs(t, found, ErrNotFound)
			require.ErrorIs(t, err, errBroken)
		}
		require.NoError(t, s.Inject(t.Context(), "terminal_pub", "terminal", chain))
		require.Len(t, contents(t, s.device), 2)
		require.NoError(t, s.DeleteCertificate(t.Context(), "terminal_pub"))
		return err
	})
}

// A forgetfulToken acknowledges certificates and does not keep them.
type forgetfulToken struct{ p11.Token }

func (f *forgetfulToken) CreateCertificate(ctx context.Context, t p11.CertificateTemplate) (p11.Certificate, error) {
	c, err := f.Token.CreateCertificate(ctx, t)
	if err != nil {
		return c, err
	}
	return p11.Certificate{Label: c.Label, ID: c.ID, Value: c.Value}, f.Token.Destroy(ctx, c.Object)
}
