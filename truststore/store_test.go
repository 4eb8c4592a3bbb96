// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"bytes"
	"context"
	"crypto/x509"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
	"github.com/hsmtls/hsmtls-go/internal/p11"
	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

// The acquirer of most tests has an intermediate that issues.
type acquirer struct{ root, upper, lower *testpki.CA }

func newAcquirer() acquirer {
	root := testpki.NewRoot("acquirer root")
	upper := root.NewIntermediate("acquirer upper")
	return acquirer{root, upper, upper.NewIntermediate("acquirer lower")}
}

func (a acquirer) config() Config {
	return Config{Anchors: Anchors{Acquirer: certs(a.root.Certificate)}}
}

func (a acquirer) open(t *testing.T, d device) *Store {
	t.Helper()
	s, err := open(t.Context(), d, a.config())
	require.NoError(t, err)
	return s
}

// sent is what a peer of the lower CA sends.
func (a acquirer) sent(leaf *x509.Certificate) []*x509.Certificate {
	return certs(leaf, a.lower.Certificate, a.upper.Certificate)
}

func TestOpenNeedsAnchors(t *testing.T) {
	t.Parallel()
	root := testpki.NewRoot("root")
	for _, anchors := range []Anchors{{}, {Acquirer: certs()}, {Vendor: certs(nil)}, {Acquirer: certs(root.Certificate, nil)}} {
		_, err := Open(t.Context(), new(hsm.Token), Config{Anchors: anchors})
		require.ErrorIs(t, err, ErrNoAnchors)
	}
	_, err := Open(t.Context(), nil, Config{Anchors: Anchors{Vendor: certs(root.Certificate)}})
	require.ErrorIs(t, err, hsm.ErrClosed)
}

func TestOpenRefusesBadAnchor(t *testing.T) {
	t.Parallel()
	root := testpki.NewRoot("root")
	for rule, c := range map[string]*x509.Certificate{
		"ca":                 root.Server("host.example.com").Leaf,
		"key":                testpki.NewRootWithKey("weak", rsa1024()).Certificate,
		"root-ext-key-usage": rootOf(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{serverAuth} })(t, root),
	} {
		_, err := Open(t.Context(), new(hsm.Token), Config{Anchors: Anchors{Vendor: certs(root.Certificate, c)}})
		require.Equal(t, rule, brokenRule(t, err))
	}
}

func TestZeroStore(t *testing.T) {
	t.Parallel()
	var s Store
	server := testpki.NewRoot("root").Server("host.example.com").Leaf
	require.Empty(t, s.Entries())
	require.Empty(t, s.Rejected())
	require.Zero(t, s.Generation())
	require.True(t, s.Pool().Equal(x509.NewCertPool()))
	_, err := s.Verify(certs(server), "", serverAuth, time.Now())
	require.ErrorIs(t, err, ErrEmpty)
	_, err = s.Inject(t.Context(), "host", server)
	require.ErrorIs(t, err, hsm.ErrClosed)
	require.ErrorIs(t, s.Remove(t.Context(), "host"), hsm.ErrClosed)
	require.ErrorIs(t, s.Refresh(t.Context()), hsm.ErrClosed)
}

// The whole life of an entry on a real token.
func TestLife(t *testing.T) {
	t.Parallel()
	a := newAcquirer()
	tok := hsmtest.Token(t)
	s, err := Open(t.Context(), tok, a.config())
	require.NoError(t, err)
	require.Empty(t, s.Entries())
	before := s.Generation()

	server := a.lower.Server("host.example.com").Leaf
	e, err := s.Inject(t.Context(), "host", a.sent(server)...)
	require.NoError(t, err)
	require.Equal(t, "host", e.Alias)
	require.Equal(t, server, e.Certificate)
	require.Equal(t, certs(a.lower.Certificate, a.upper.Certificate, a.root.Certificate), e.Issuers)
	require.Equal(t, []x509.ExtKeyUsage{serverAuth}, e.Usages)
	require.True(t, e.Private)
	require.Equal(t, []Entry{e}, s.Entries())
	require.Greater(t, s.Generation(), before)

	// The layout other tools see.
	objects, err := tok.Device().Certificates(t.Context(), p11.Filter{Label: "host"})
	require.NoError(t, err)
	require.Len(t, objects, 1)
	require.Equal(t, server.Raw, objects[0].Value)
	require.Equal(t, []byte("hsmtls-trust-1:"), objects[0].ID[:15])
	require.Len(t, objects[0].ID, 47)
	require.Equal(t, p11.CategoryOther, objects[0].Category)
	require.True(t, objects[0].Private)

	// The same again changes nothing, and a second store reads the same.
	again, err := s.Inject(t.Context(), "host", a.sent(server)...)
	require.NoError(t, err)
	require.Equal(t, e, again)
	other, err := Open(t.Context(), tok, a.config())
	require.NoError(t, err)
	require.Equal(t, s.Entries(), other.Entries())
	require.Empty(t, other.Rejected())

	// The kept issuers do for the peer what it does not send.
	got, err := other.Verify(certs(server), "host.example.com", serverAuth, time.Now())
	require.NoError(t, err)
	require.Equal(t, certs(server), got)

	require.NoError(t, s.Remove(t.Context(), "host"))
	require.Empty(t, s.Entries())
	left, err := tok.Device().Certificates(t.Context(), p11.Filter{})
	require.NoError(t, err)
	require.Empty(t, left)
	generation := other.Generation()
	require.NoError(t, other.Refresh(t.Context()))
	require.Empty(t, other.Entries())
	require.Greater(t, other.Generation(), generation)
	require.ErrorIs(t, s.Remove(t.Context(), "host"), ErrNotFound)
}

func TestVerify(t *testing.T) {
	t.Parallel()
	a, vendor := newAcquirer(), newAcquirer()
	cfg := Config{Anchors: Anchors{Acquirer: certs(a.root.Certificate), Vendor: certs(vendor.root.Certificate)}}
	s, err := open(t.Context(), newFaulty(t), cfg)
	require.NoError(t, err)
	now := time.Now()

	host := a.lower.Server("host.example.com").Leaf
	sibling := a.lower.Server("sibling.example.com").Leaf
	till := vendor.lower.Client("till 1").Leaf
	server := vendor.lower.Server("pos.example.com").Leaf
	_, err = s.Verify(a.sent(host), "", serverAuth, now)
	require.ErrorIs(t, err, ErrEmpty)

	_, err = s.Inject(t.Context(), "host", a.sent(host)...)
	require.NoError(t, err)
	_, err = s.Inject(t.Context(), "tills", vendor.lower.Certificate, vendor.upper.Certificate, vendor.root.Certificate)
	require.NoError(t, err)

	got, err := s.Verify(a.sent(host), "host.example.com", serverAuth, now)
	require.NoError(t, err)
	require.Equal(t, certs(host), got, "the chain ends in the entry")
	got, err = s.Verify(certs(till), "", clientAuth, now)
	require.NoError(t, err)
	require.Equal(t, certs(till, vendor.lower.Certificate), got)

	for _, tt := range []struct {
		name  string
		chain []*x509.Certificate
		host  string
		usage x509.ExtKeyUsage
		at    time.Time
		want  func(*testing.T, error)
	}{
		{"an anchor is not enough", a.sent(sibling), "", serverAuth, now, func(t *testing.T, err error) { require.ErrorIs(t, err, ErrUntrusted) }},
		{"wrong name", a.sent(host), "sibling.example.com", serverAuth, now, isHostname},
		{"a client is no server", certs(till), "", serverAuth, now, isInvalid(x509.IncompatibleUsage)},
		{"a server is no client", certs(server), "", clientAuth, now, isInvalid(x509.IncompatibleUsage)},
		{"expired", a.sent(host), "", serverAuth, now.AddDate(3, 0, 0), isInvalid(x509.Expired)},
		{"before its time", a.sent(host), "", serverAuth, now.AddDate(-1, 0, 0), isInvalid(x509.Expired)},
		{"stranger", certs(testpki.NewRoot("acquirer lower").Server("host.example.com").Leaf), "", serverAuth, now, isUnknownAuthority},
		{"self-signed", certs(selfSigned(t)), "", serverAuth, now, isUnknownAuthority},
		{"a CA is no peer", certs(vendor.lower.Certificate), "", clientAuth, now, isRule("leaf-ca")},
	} {
		got, err := s.Verify(tt.chain, tt.host, tt.usage, tt.at)
		require.Nil(t, got, tt.name)
		var refusal *RejectedError
		require.ErrorAs(t, err, &refusal, tt.name)
		tt.want(t, err)
	}
	_, err = s.Verify(nil, "", serverAuth, now)
	require.Error(t, err)
	_, err = s.Verify(a.sent(host), "", x509.ExtKeyUsageAny, now)
	require.Error(t, err)
	_, err = s.Verify(a.sent(host), "", serverAuth, time.Time{})
	require.Error(t, err)
}

// What limits the issuers above an entry limits the peers below it.
func TestConstraintsAboveTheEntryHold(t *testing.T) {
	t.Parallel()
	root := testpki.NewRoot("root")
	narrow := constrainedCA(t, root, []string{"example.com"})
	issuing := caWith(narrow, same)
	s, err := open(t.Context(), newFaulty(t), Config{Anchors: Anchors{Acquirer: certs(root.Certificate)}})
	require.NoError(t, err)
	_, err = s.Inject(t.Context(), "issuing", issuing.Certificate, narrow.Certificate)
	require.NoError(t, err)

	_, err = s.Verify(certs(issuing.Server("host.example.com").Leaf), "", serverAuth, time.Now())
	require.NoError(t, err)
	_, err = s.Verify(certs(issuing.Server("host.example.net").Leaf), "", serverAuth, time.Now())
	isInvalid(x509.CANotAuthorizedForThisName)(t, err)
}

// The proof of an entry may end before the entry does. Then another one must be
// found, or the peer is refused.
func TestEntryOutlivesItsIssuer(t *testing.T) {
	t.Parallel()
	root := testpki.NewRoot("root")
	short := caWith(root, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(time.Hour) })
	template := testpki.ServerTemplate("host.example.com")
	template.NotAfter = time.Now().AddDate(1, 0, 0)
	host := short.Issue(template, short.Key.Public())
	s, err := open(t.Context(), newFaulty(t), Config{Anchors: Anchors{Acquirer: certs(root.Certificate)}})
	require.NoError(t, err)
	_, err = s.Inject(t.Context(), "host", host, short.Certificate)
	require.NoError(t, err)

	later := time.Now().Add(2 * time.Hour)
	_, err = s.Verify(certs(host), "", serverAuth, time.Now())
	require.NoError(t, err)
	_, err = s.Verify(certs(host), "", serverAuth, later)
	isInvalid(x509.Expired)(t, err)
	renewed := root.Issue(&x509.Certificate{
		Subject: short.Certificate.Subject, IsCA: true, BasicConstraintsValid: true,
	}, short.Key.Public())
	got, err := s.Verify(certs(host, renewed), "", serverAuth, later)
	require.NoError(t, err)
	require.Equal(t, certs(host), got)
}

// An anchor may be injected too, and is an issuing CA from then on.
func TestAnchorAsEntry(t *testing.T) {
	t.Parallel()
	a := newAcquirer()
	s := a.open(t, newFaulty(t))
	e, err := s.Inject(t.Context(), "root", a.root.Certificate)
	require.NoError(t, err)
	require.Empty(t, e.Issuers)
	require.Equal(t, []x509.ExtKeyUsage{serverAuth, clientAuth}, e.Usages)
	got, err := s.Verify(a.sent(a.lower.Server("host.example.com").Leaf), "", serverAuth, time.Now())
	require.NoError(t, err)
	require.Len(t, got, 4)
}

func TestUsagesComeFromTheWholeChain(t *testing.T) {
	t.Parallel()
	root := testpki.NewRoot("root")
	clients := caWith(root, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{clientAuth} })
	both := testpki.ClientTemplate("till 1")
	both.ExtKeyUsage = []x509.ExtKeyUsage{serverAuth, clientAuth}
	s, err := open(t.Context(), newFaulty(t), Config{Anchors: Anchors{Vendor: certs(root.Certificate)}})
	require.NoError(t, err)

	e, err := s.Inject(t.Context(), "till", clients.Issue(both, clients.Key.Public()), clients.Certificate)
	require.NoError(t, err)
	require.Equal(t, []x509.ExtKeyUsage{clientAuth}, e.Usages)
	_, err = s.Inject(t.Context(), "host", clients.Server("host.example.com").Leaf, clients.Certificate)
	isInvalid(x509.IncompatibleUsage)(t, err)
	signers := caWith(root, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning} })
	_, err = s.Inject(t.Context(), "signers", signers.Certificate)
	isInvalid(x509.IncompatibleUsage)(t, err)
}

// Pool is the caller's: changing it changes nobody else's trust.
func TestPool(t *testing.T) {
	t.Parallel()
	a := newAcquirer()
	s := a.open(t, newFaulty(t))
	host := a.lower.Server("host.example.com").Leaf
	_, err := s.Inject(t.Context(), "host", a.sent(host)...)
	require.NoError(t, err)
	want := poolOf(certs(host))
	pool := s.Pool()
	require.True(t, pool.Equal(want))
	pool.AddCert(a.root.Certificate)
	require.True(t, s.Pool().Equal(want))
}

// Refresh of an unchanged token is no new generation, in whatever order the
// token lists its objects.
func TestGeneration(t *testing.T) {
	t.Parallel()
	a := newAcquirer()
	f := newFaulty(t)
	s := a.open(t, f)
	_, err := s.Inject(t.Context(), "host", a.sent(a.lower.Server("host.example.com").Leaf)...)
	require.NoError(t, err)
	require.NoError(t, s.Refresh(t.Context()))
	generation := s.Generation()
	f.seen = func(found []p11.Certificate) {
		for i, j := 0, len(found)-1; i < j; i, j = i+1, j-1 {
			found[i], found[j] = found[j], found[i]
		}
	}
	require.NoError(t, s.Refresh(t.Context()))
	require.Equal(t, generation, s.Generation())

	require.NoError(t, s.Remove(t.Context(), "host"))
	require.Greater(t, s.Generation(), generation)
	generation = s.Generation()
	require.NoError(t, s.Refresh(t.Context()))
	require.Equal(t, generation, s.Generation())
}

// Without private objects on the token everything works and the entry says so.
func TestTokenWithoutPrivateObjects(t *testing.T) {
	t.Parallel()
	a := newAcquirer()
	f := newFaulty(t)
	f.public = true
	s := a.open(t, f)
	e, err := s.Inject(t.Context(), "host", a.sent(a.lower.Server("host.example.com").Leaf)...)
	require.NoError(t, err)
	require.False(t, e.Private)
	require.NoError(t, s.Refresh(t.Context()))
	require.Equal(t, []Entry{e}, s.Entries())
}

// An entry outside its dates is not trusted, and becomes so by Refresh.
func TestClock(t *testing.T) {
	t.Parallel()
	a := newAcquirer()
	f := newFaulty(t)
	_, err := a.open(t, f).Inject(t.Context(), "host", a.sent(a.lower.Server("host.example.com").Leaf)...)
	require.NoError(t, err)

	var log bytes.Buffer
	now := time.Unix(0, 0)
	cfg := a.config()
	cfg.Now = func() time.Time { return now }
	cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	s, err := open(t.Context(), f, cfg)
	require.NoError(t, err)
	require.Empty(t, s.Entries())
	require.Len(t, s.Rejected(), 1)
	isInvalid(x509.Expired)(t, s.Rejected()[0].Err)
	require.Contains(t, log.String(), "label=host")

	now = time.Now()
	require.NoError(t, s.Refresh(t.Context()))
	require.Len(t, s.Entries(), 1)
	require.Empty(t, s.Rejected())
}

// A failing token changes nothing, whichever call it is that fails.
func TestRefreshFails(t *testing.T) {
	t.Parallel()
	a := newAcquirer()
	f := newFaulty(t)
	s := a.open(t, f)
	_, err := s.Inject(t.Context(), "host", a.sent(a.lower.Server("host.example.com").Leaf)...)
	require.NoError(t, err)
	f.plant(t, "foreign", []byte("id"), a.root.Certificate)
	require.NoError(t, s.Refresh(t.Context()))
	was := s.snapshot()
	for call := 1; call <= 2; call++ {
		f.arm(call)
		require.ErrorIs(t, s.Refresh(t.Context()), errDevice)
		require.Same(t, was, s.snapshot())
		f.arm(call)
		_, err := open(t.Context(), f, a.config())
		require.ErrorIs(t, err, errDevice)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f.arm(0)
	require.ErrorIs(t, s.Refresh(ctx), context.Canceled)
}

// Readers never wait for writers, nor see half of what they do.
func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	a := newAcquirer()
	s := a.open(t, newFaulty(t))
	host := a.lower.Server("host.example.com").Leaf
	_, err := s.Inject(t.Context(), "host", a.sent(host)...)
	require.NoError(t, err)
	extra := a.lower.Client("till 1").Leaf

	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				_, err := s.Verify(a.sent(host), "host.example.com", serverAuth, time.Now())
				if err != nil || len(s.Entries()) == 0 || s.Generation() == 0 {
					t.Errorf("Verify of a standing entry: %v", err)
					return
				}
				s.Pool()
				s.Rejected()
			}
		})
	}
	var writers sync.WaitGroup
	for range 3 {
		writers.Go(func() {
			if _, err := s.Inject(t.Context(), "till", a.sent(extra)...); err != nil {
				t.Errorf("Inject: %v", err)
			}
			if err := s.Refresh(t.Context()); err != nil {
				t.Errorf("Refresh: %v", err)
			}
		})
	}
	writers.Wait()
	close(done)
	readers.Wait()
	require.Len(t, s.Entries(), 2)
}
