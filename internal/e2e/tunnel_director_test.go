// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build unix && cgo

package e2e

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/hsmtls"
	"github.com/hsmtls/hsmtls-go/internal/testpki"
	"github.com/hsmtls/hsmtls-go/keystore"
)

// guests is the alias of the CA of those who are trusted only sometimes, and the
// name of one.
const guests = "guests"

// A director changes the world that a load is in, one thing after the other, and
// looks whether each change has come about.
type director struct {
	*station
	addr      string // of the server
	full      *load  // each of its connections needs the token
	ca        *testpki.CA
	guest     tls.Certificate
	guestLoad *load // what the guest did at the server, without what was withdrawn
	offices   map[string]*office
	parent    int      // the process that waits for this one
	seen      sync.Map // serial numbers of clients

	turn                         int
	renewed, revoked, faulted    int
	guestRefused, guestWithdrawn uint64
}

func newDirector(t *testing.T, s *station) *director {
	t.Helper()
	ca := s.root.NewIntermediate("Guests")
	_, err := s.trust.Inject(t.Context(), guests, ca.Certificate)
	require.NoError(t, err)
	return &director{
		station: s, ca: ca, guest: ca.Client(guests), guestLoad: new(load), parent: os.Getppid(),
		offices: map[string]*office{
			terminal: {ca: s.devices, usage: x509.ExtKeyUsageClientAuth},
			acquirer: {ca: s.hosts, usage: x509.ExtKeyUsageServerAuth},
		},
	}
}

func (d *director) String() string {
	return fmt.Sprintf("%d renewals, %d revocations undone, %d faults of the token", d.renewed, d.revoked, d.faulted)
}

// watch has a server's provider tell whose certificates it has seen.
func (d *director) watch(p *hsmtls.Provider) *hsmtls.Provider {
	p.VerifyPeer = func(cs tls.ConnectionState) error {
		d.seen.Store(cs.PeerCertificates[0].SerialNumber.String(), true)
		return nil
	}
	return p
}

// act does the next thing. After each the token fails once, for shorter than it is
// held for.
func (d *director) act(t *testing.T) {
	require.Equal(t, d.parent, os.Getppid(), "nobody waits for this process any more")
	acts := []func(*testing.T){d.renewTerminal, d.deny, d.renewAcquirer, d.remove}
	acts[d.turn%len(acts)](t)
	d.turn++
	d.fault(t)
	time.Sleep(time.Duration(rand.IntN(300)) * time.Millisecond) // some load without any of it
}

// round reports whether everything has been done.
func (d *director) round() bool { return d.turn >= 4 }

// fault has the token fail, and does not go on before the fault has been met.
func (d *director) fault(t *testing.T) {
	faults := d.faults()
	faults[rand.IntN(len(faults))]()
	d.faulted++
	for range 2 {
		require.NoError(t, d.full.short())
	}
	for _, function := range []string{"C_Sign", "C_SignInit", "C_OpenSession", "C_Login"} {
		d.Clear(function)
	}
}

func (d *director) renew(t *testing.T, alias string) (serial string) {
	identity, err := d.keys.Renew(t.Context(), alias, keystore.Renewal{}, d.offices[alias].submit)
	require.NoError(t, err)
	d.renewed++
	return identity.Chain[0].SerialNumber.String()
}

// renewTerminal sees that the next full handshake shows the new certificate.
func (d *director) renewTerminal(t *testing.T) {
	serial := d.renew(t, terminal)
	require.NoError(t, d.full.short())
	_, seen := d.seen.Load(serial)
	require.True(t, seen, "the renewed certificate is not presented")
}

func (d *director) renewAcquirer(t *testing.T) {
	serial := d.renew(t, acquirer)
	require.Equal(t, serial, d.visit(t))
}

// deny revokes the guest's certificate, and thinks better of it.
func (d *director) deny(t *testing.T) {
	d.revoke(t,
		func(ctx context.Context) error { return d.trust.Deny(ctx, d.guest.Leaf, "soak") },
		func(ctx context.Context) error { return d.trust.Allow(ctx, sha256.Sum256(d.guest.Leaf.Raw)) })
}

// remove takes the guest's issuer out of the trust store, and back in.
func (d *director) remove(t *testing.T) {
	d.revoke(t,
		func(ctx context.Context) error { return d.trust.Remove(ctx, guests) },
		func(ctx context.Context) error {
			_, err := d.trust.Inject(ctx, guests, d.ca.Certificate)
			return err
		})
}

// revoke sees that the guest is cut off and not let in, and then that it is.
func (d *director) revoke(t *testing.T, withdraw, restore func(context.Context) error) {
	conn := d.call(t)
	require.NoError(t, withdraw(t.Context()))
	_, err := conn.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF) // close_notify: see package tunnel
	require.NoError(t, conn.Close())
	d.guestWithdrawn++
	d.guestLoad.to.Add(uint64(len("echo\nnoon\n")))
	d.guestLoad.from.Add(uint64(len("noon\n")))
	_, err = d.dialGuest()
	require.Error(t, err)
	d.guestRefused++
	require.NoError(t, restore(t.Context()))
	d.visit(t)
	d.revoked++
}

func (d *director) dialGuest() (*tls.Conn, error) {
	return dialAs(d.station, d.addr, d.guest)
}

// call connects as the guest and says something. The caller closes: who left that to
// the end of a test that goes on for long would keep all of them in memory.
func (d *director) call(t *testing.T) *tls.Conn {
	conn, err := d.dialGuest()
	require.NoError(t, err)
	_, err = io.WriteString(conn, "echo\n")
	require.NoError(t, err)
	require.NoError(t, ping(conn))
	return conn
}

// visit is a call that comes to its end. It returns the serial number of the server.
func (d *director) visit(t *testing.T) string {
	conn := d.call(t)
	rest, err := endOf(conn)
	require.NoError(t, err)
	require.Empty(t, rest)
	require.NoError(t, conn.Close())
	d.guestLoad.good("echo", len("noon\n"), len("noon\n"))
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
}

// dialAs is crypto/tls with these certificates, which may be none.
func dialAs(s *station, addr string, certs ...tls.Certificate) (*tls.Conn, error) {
	cfg := &tls.Config{Certificates: certs, RootCAs: s.peer(tls.Certificate{}).roots, MaxVersion: tls.VersionTLS12}
	return tls.DialWithDialer(&net.Dialer{Timeout: 2 * time.Minute}, "tcp", addr, cfg)
}

// strangers are those who are never let in.
type strangers struct {
	tries []func() error
	n     atomic.Uint64 // came
}

var errLetIn = errors.New("a stranger was let in")

func newStrangers(s *station, addr string) *strangers {
	as := func(certs ...tls.Certificate) func() error {
		return func() error {
			conn, err := dialAs(s, addr, certs...)
			if err == nil {
				conn.Close()
				return errLetIn
			}
			return nil
		}
	}
	plain := func() error {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return err
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "echo\nGET / HTTP/1.1\r\n\r\n")
		answer, _ := io.ReadAll(conn) // its end is a reset or not
		if len(answer) > 64 {
			return errLetIn
		}
		return nil
	}
	return &strangers{tries: []func() error{
		as(testpki.NewRoot("Foreign").Client("unit 1")), as(s.devices.Client("nobody's name")), as(), plain,
	}}
}

// try has the next one come.
func (x *strangers) try() error {
	n := x.n.Add(1)
	return x.tries[int(n)%len(x.tries)]()
}
