// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

// bushes are CAs that say all sorts of things about what is below them.
func bushes(t *testing.T, root *testpki.CA) []*testpki.CA {
	t.Helper()
	edits := map[string]func(*x509.Certificate){
		"plain":       same,
		"short path":  func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = 0, true },
		"path of one": func(c *x509.Certificate) { c.MaxPathLen = 1 },
		"expired":     func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) },
		"early":       func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) },
		"servers":     func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{serverAuth} },
		"narrow": func(c *x509.Certificate) {
			c.PermittedDNSDomains, c.PermittedDNSDomainsCritical = []string{"example.com"}, true
		},
	}
	var all []*testpki.CA
	grow := func(parent *testpki.CA, name string, edit func(*x509.Certificate)) *testpki.CA {
		ca := caWith(parent, func(c *x509.Certificate) {
			edit(c)
			if len(all)%5 > 0 { // the others share a name
				c.Subject.CommonName = fmt.Sprintf("%s %d", name, len(all))
			}
		})
		all = append(all, ca)
		return ca
	}
	for name, edit := range edits {
		upper := grow(root, name, edit)
		for name, edit := range edits {
			grow(upper, name, edit)
		}
	}
	return all
}

// twigs are certificates of peers, good and bad.
func twigs(t *testing.T, ca *testpki.CA) []*x509.Certificate {
	t.Helper()
	late := testpki.ServerTemplate("late.example.com")
	late.NotBefore = time.Now().Add(time.Hour)
	forged := testpki.NewRoot(ca.Certificate.Subject.CommonName).Server("forged.example.com").Leaf
	return []*x509.Certificate{
		ca.Server("host.example.com").Leaf,
		ca.Server("host.example.net").Leaf,
		ca.Client("till").Leaf,
		ca.Issue(late, ca.Key.Public()),
		ca.Issue(testpki.ServerTemplate("weak.example.com"), rsa1024().Public()),
		forged,
		ca.NewIntermediate("below").Certificate,
	}
}

// What the prover says of a certificate is what crypto/x509 says of it with
// everything at hand: the same paths, the same entry, and the same refusal.
func TestProverAgrees(t *testing.T) {
	t.Parallel()
	root, pairing := testpki.NewRoot("root"), testpki.NewRoot("pairing")
	from, err := Anchors{Acquirer: certs(root.Certificate), Pairing: certs(pairing.Certificate)}.checked()
	require.NoError(t, err)
	above, candidates := issuers{}, twigs(t, root)
	candidates = append(candidates, twigs(t, pairing)...)
	candidates = append(candidates, twigs(t, testpki.NewRoot("stranger"))...)
	for _, ca := range append(bushes(t, root), bushes(t, pairing)...) {
		above.add(ca.Certificate)
		candidates = append(candidates, twigs(t, ca)...)
	}
	fast, accepted := agree(t, above, from, candidates, time.Now())
	require.Greater(t, fast, 20, "the prover did nothing by itself")
	require.Greater(t, accepted, 40)
	require.Greater(t, len(candidates)-accepted, 200)
}

// agree compares the two for each certificate, and returns for how many the prover
// did not ask for the whole path, and how many are good.
func agree(t *testing.T, above issuers, from *anchors, candidates []*x509.Certificate, at time.Time) (fast, accepted int) {
	t.Helper()
	p := newProver(above, from, at)
	q := question{usage: x509.ExtKeyUsageAny, at: at}
	for _, c := range candidates {
		p.prepare(c)
	}
	rand.Shuffle(len(candidates), func(i, j int) { candidates[i], candidates[j] = candidates[j], candidates[i] })
	for _, c := range candidates {
		name := fmt.Sprintf("%s by %s", c.Subject, c.Issuer)
		if paths := p.paths(c); len(paths) > 0 {
			whole, err := q.paths(c, above.above(certs(c)), from.pool)
			require.NoError(t, err, name)
			require.Equal(t, whole, paths, name)
			fast++
		}
		want, refusal := proof(c, above.above(certs(c)), from, at)
		got, err := p.proof(c)
		require.Equal(t, want, got, name)
		if refusal == nil {
			require.NoError(t, err, name)
			accepted++
			continue
		}
		require.EqualError(t, err, refusal.Error(), name)
	}
	return fast, accepted
}

// Nor does the prover find a path in the suite of NIST that crypto/x509 does not.
func TestProverPKITS(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(goroot(t), "src", "crypto", "x509", "testdata", "nist-pkits")
	var cases []struct {
		Name     string
		CertPath []string // anchor first
	}
	data, err := os.ReadFile(filepath.Join(dir, "vectors.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &cases))
	q := question{usage: x509.ExtKeyUsageAny, at: time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)}
	fast := 0
	for _, tt := range cases {
		chain := readPKITS(t, filepath.Join(dir, "certs"), tt.CertPath)
		if chain == nil {
			continue // crypto/x509 does not parse it
		}
		above, end := issuers{}, chain[len(chain)-1]
		for _, c := range chain[1:] {
			above.add(c)
		}
		from := &anchors{pool: poolOf(chain[:1]), all: chain[:1]}
		p := newProver(above, from, q.at)
		p.prepare(end)
		found := p.paths(end)
		if len(found) == 0 {
			continue
		}
		fast++
		whole, err := q.paths(end, above.above(certs(end)), from.pool)
		require.NoError(t, err, tt.Name)
		require.Equal(t, whole, found, tt.Name)
	}
	require.Greater(t, fast, 30)
}

func readPKITS(t *testing.T, dir string, files []string) (chain []*x509.Certificate) {
	t.Helper()
	for _, file := range files {
		der, err := os.ReadFile(filepath.Join(dir, file))
		require.NoError(t, err)
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil
		}
		chain = append(chain, cert)
	}
	return chain
}

// What was proved is proved again when the time, the issuers or the objects are
// not what they were.
func TestRefreshProvesAgain(t *testing.T) {
	t.Parallel()
	a := newAcquirer()
	now := time.Now()
	f := newFaulty(t)
	cfg := a.config()
	cfg.Now = func() time.Time { return now }
	s, err := open(t.Context(), f, cfg)
	require.NoError(t, err)
	_, err = s.Inject(t.Context(), "host", a.sent(a.lower.Server("host.example.com").Leaf)...)
	require.NoError(t, err)
	require.NoError(t, s.Refresh(t.Context()))
	require.Len(t, s.Entries(), 1)

	now = now.AddDate(2, 0, 0)
	require.NoError(t, s.Refresh(t.Context()))
	require.Empty(t, s.Entries())
	isInvalid(x509.Expired)(t, s.Rejected()[0].Err)
	now = now.AddDate(-2, 0, 0)
	require.NoError(t, s.Refresh(t.Context()))
	require.Len(t, s.Entries(), 1)

	// Known objects are not read again, and a new one is.
	f.arm(0)
	require.NoError(t, s.Refresh(t.Context()))
	quiet := f.calls
	f.plantEntry(t, "planted", a.lower.Server("planted.example.com").Leaf)
	f.arm(0)
	require.NoError(t, s.Refresh(t.Context()))
	require.Equal(t, quiet+1, f.calls)
	require.Len(t, s.Entries(), 2)
}
