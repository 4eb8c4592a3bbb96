// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package pairing

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/hsmtls"
	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

func TestMain(m *testing.M) {
	os.Exit(hsmtest.LeakFree(hsmtest.Main(m)))
}

const (
	device   = "12345678.terminal.test" // the name in the terminal's certificate
	terminal = "terminal_pub"           // its alias
)

var errUnknownAlias = errors.New("unknown alias")

// posKey1 is the key every test terminal gives away, because making one takes
// long under the race detector.
var posKey1 = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, posKeyBits)
	if err != nil {
		panic(err)
	}
	return key
})

// memory is a Registry, and the Trust that goes with it.
type memory struct {
	root *x509.Certificate

	mu    sync.Mutex
	certs []*x509.Certificate

	add    func(*x509.Certificate) error // asked before a certificate is listed
	remove func(*x509.Certificate) error
}

func (m *memory) Add(_ context.Context, _ string, chain []*x509.Certificate) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.add != nil {
		if err := m.add(chain[0]); err != nil {
			return err
		}
	}
	if !slices.ContainsFunc(m.certs, chain[0].Equal) {
		m.certs = append(slices.Clone(m.certs), chain[0])
	}
	return nil
}

func (m *memory) Remove(_ context.Context, cert *x509.Certificate) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.remove != nil {
		if err := m.remove(cert); err != nil {
			return err
		}
	}
	m.certs = slices.DeleteFunc(slices.Clone(m.certs), cert.Equal)
	return nil
}

func (m *memory) Clients() []*x509.Certificate {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.certs
}

func (m *memory) set(add, remove func(*x509.Certificate) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.add, m.remove = add, remove
}

func (m *memory) Verify(chain []*x509.Certificate, _ string, usage x509.ExtKeyUsage, at time.Time) ([]*x509.Certificate, error) {
	opts := x509.VerifyOptions{
		Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(),
		CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{usage},
	}
	opts.Roots.AddCert(m.root)
	for _, c := range chain[1:] {
		opts.Intermediates.AddCert(c)
	}
	found, err := chain[0].Verify(opts)
	if err != nil {
		return nil, err
	}
	return found[0], nil
}

// memoryKeys is hsmtls.Keys.
type memoryKeys map[string]*tls.Certificate

func (k memoryKeys) Certificate(_ context.Context, alias string) (*tls.Certificate, error) {
	if cert, ok := k[alias]; ok {
		return cert, nil
	}
	return nil, errUnknownAlias
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return key
}

func named(name string) pkix.Name {
	return pkix.Name{CommonName: name, Organization: []string{"hsmtls test"}}
}

// newIssuer is a pairing CA with a local root.
func newIssuer(t testing.TB) *Issuer {
	t.Helper()
	return newIssuerAt(t, time.Now())
}

func newIssuerAt(t testing.TB, now time.Time) *Issuer {
	t.Helper()
	rootKey, key := newKey(t), newKey(t)
	root, err := NewLocalRoot(rootKey, named("pairing root"), now)
	require.NoError(t, err)
	ca, err := NewLocalAuthority(root, rootKey, key.Public(), named("pairing CA"), now)
	require.NoError(t, err)
	return &Issuer{Key: key, Chain: []*x509.Certificate{ca, root}}
}

// world is a terminal and what belongs to it.
type world struct {
	*Terminal
	registry *memory
	pki      *testpki.CA // of the terminal's own certificate
	addr     string      // when served
}

// newWorld is a terminal that is not served.
func newWorld(t testing.TB, change ...func(*Terminal)) *world {
	t.Helper()
	w := &world{pki: testpki.NewRoot("vendor root"), Terminal: &Terminal{Issuer: newIssuer(t)}}
	w.registry = new(memory)
	server := w.pki.NewIntermediate("vendor CA").Server(device)
	w.Registry, w.Root, w.Alias = w.registry, w.pki.Certificate, terminal
	w.Provider = &hsmtls.Provider{Keys: memoryKeys{terminal: &server}, Trust: w.registry}
	for _, f := range change {
		f(w.Terminal)
	}
	if w.Issuer != nil {
		w.registry.root = w.Issuer.Chain[1]
	}
	w.state().stock.generate = func() (*rsa.PrivateKey, error) { return posKey1(), nil }
	t.Cleanup(func() { require.NoError(t, w.Close()) })
	return w
}

// serve is newWorld, on a port of the loopback interface.
func serve(t testing.TB, change ...func(*Terminal)) *world {
	t.Helper()
	w := newWorld(t, change...)
	addr, end := w.serveBeside(t)
	t.Cleanup(end)
	w.addr = addr
	return w
}

// serveBeside serves on one more port.
func (w *world) serveBeside(t testing.TB) (addr string, end func()) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	more := len(w.Details().Addresses) + 1
	done := make(chan error, 1)
	go func() { done <- w.Serve(ctx, ln) }()
	require.Eventually(t, func() bool { return len(w.Details().Addresses) == more }, 30*time.Second, time.Millisecond)
	return ln.Addr().String(), func() {
		t.Helper()
		cancel()
		require.NoError(t, <-done)
	}
}

// pos is a client of the terminal.
func (w *world) pos(t testing.TB, scheme string) *Client {
	t.Helper()
	root, err := RootOf(w.pki.Certificate)
	require.NoError(t, err)
	return &Client{URL: scheme + "://" + w.addr, Root: root, Name: device}
}

// tap shows a code.
func (w *world) tap(t testing.TB) Code {
	t.Helper()
	require.NoError(t, w.GenerateCode())
	s := w.State()
	require.Equal(t, PhaseShowing, s.Phase)
	return s.Code
}

// paired pairs a POS.
func (w *world) paired(t testing.TB, posID string) (*Client, *Bundle) {
	t.Helper()
	return w.pairedWith(t, posID, nil)
}

func (w *world) pairedWith(t testing.TB, posID string, key crypto.Signer) (*Client, *Bundle) {
	t.Helper()
	c := w.pos(t, "https")
	b, err := c.Pair(t.Context(), Request{POSID: posID, Code: w.tap(t), Key: key})
	require.NoError(t, err)
	return c, b
}
