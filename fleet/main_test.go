// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package fleet

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/hsmtls"
	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

func TestMain(m *testing.M) { os.Exit(hsmtest.LeakFree(m.Run())) }

const suffix = "terminals.example"

// An estate is a gateway's Fleet and terminals on loopback.
type estate struct {
	t     *testing.T
	root  *testpki.CA
	fleet *Fleet
	key   *slowKey
}

// A slowKey is the gateway's. It counts signatures, and holds them while somebody
// holds it. While it is lost it makes none.
type slowKey struct {
	crypto.Signer
	signed  atomic.Int64
	holding sync.RWMutex
	lost    atomic.Bool
}

var errLost = errors.New("token is away")

func (k *slowKey) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	k.holding.RLock()
	defer k.holding.RUnlock()
	if k.lost.Load() {
		return nil, errLost
	}
	k.signed.Add(1)
	return k.Signer.Sign(rand, digest, opts)
}

// Certificate makes a tls.Certificate the Keys of every alias.
type keys struct{ cert *tls.Certificate }

func (k keys) Certificate(context.Context, string) (*tls.Certificate, error) { return k.cert, nil }

type trust struct{ roots *x509.CertPool }

func (f trust) Verify(chain []*x509.Certificate, name string, usage x509.ExtKeyUsage, at time.Time) ([]*x509.Certificate, error) {
	chains, err := chain[0].Verify(x509.VerifyOptions{
		Roots: f.roots, DNSName: name, KeyUsages: []x509.ExtKeyUsage{usage}, CurrentTime: at,
	})
	if err != nil {
		return nil, err
	}
	return chains[0], nil
}

func newEstate(t *testing.T) *estate {
	root := testpki.NewRoot("estate")
	gateway := root.Client("gateway")
	e := &estate{t: t, root: root, key: &slowKey{Signer: gateway.PrivateKey.(crypto.Signer)}}
	gateway.PrivateKey = e.key
	e.fleet = &Fleet{Provider: e.provider(gateway), Alias: "gateway_pub", Suffix: suffix, Pause: time.Hour}
	return e
}

// provider has no limits of time: how long a dial takes is for the Fleet to bound.
func (e *estate) provider(cert tls.Certificate) *hsmtls.Provider {
	roots := x509.NewCertPool()
	roots.AddCert(e.root.Certificate)
	return &hsmtls.Provider{Keys: keys{&cert}, Trust: trust{roots}, HandshakeTimeout: time.Hour, SignTimeout: time.Hour}
}

// terminal starts one and adds it to the fleet.
func (e *estate) terminal(serial string) *simulated {
	e.t.Helper()
	s := &simulated{e: e, serial: serial, addr: "127.0.0.1:0", handler: http.HandlerFunc(answer)}
	s.start(e.root.Server(serial + "." + suffix))
	require.NoError(e.t, e.fleet.Set(Terminal{Serial: serial, Addr: s.addr}))
	e.t.Cleanup(s.kill)
	return s
}

func answer(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "terminal at "+r.Host) }

// A simulated terminal serves HTTP.
type simulated struct {
	e            *estate
	serial, addr string
	handler      http.Handler
	server       *http.Server
	done         chan struct{}
}

// start listens at the terminal's address. If somebody else has got the port since
// the last time, the terminal has moved.
func (s *simulated) start(cert tls.Certificate) {
	s.e.t.Helper()
	ln, err := s.listen(cert)
	if errors.Is(err, syscall.EADDRINUSE) {
		s.addr = "127.0.0.1:0"
		if ln, err = s.listen(cert); err == nil {
			err = s.e.fleet.Set(Terminal{Serial: s.serial, Addr: ln.Addr().String()})
		}
	}
	require.NoError(s.e.t, err)
	s.addr = ln.Addr().String()
	s.server, s.done = &http.Server{Handler: s.handler}, make(chan struct{})
	go func() {
		defer close(s.done)
		_ = s.server.Serve(ln)
	}()
}

func (s *simulated) listen(cert tls.Certificate) (net.Listener, error) {
	return s.e.provider(cert).Listen(s.e.t.Context(), "tcp", s.addr, "terminal_pub")
}

// kill closes the listener and all connections.
func (s *simulated) kill() {
	_ = s.server.Close()
	<-s.done
}

func (e *estate) dial(serial string) (net.Conn, error) {
	conn, err := e.fleet.Dial(e.t.Context(), serial)
	if err == nil {
		e.t.Cleanup(func() { conn.Close() })
	}
	return conn, err
}

func (e *estate) state(serial string) State {
	e.t.Helper()
	s, err := e.fleet.Status(serial)
	require.NoError(e.t, err)
	return s.State
}
