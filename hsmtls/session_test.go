// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtls

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

// resumed dials s and reports whether the session was resumed, on both sides.
func (w *world) resumed(t *testing.T, s *echoServer) bool {
	t.Helper()
	conn, err := w.client.Dial(t.Context(), "tcp", s.addr, terminal)
	require.NoError(t, err)
	ping(t, conn) // TLS 1.3 sends its tickets after the handshake
	require.NoError(t, conn.Close())
	got := (<-s.state).DidResume
	require.Equal(t, got, conn.ConnectionState().DidResume)
	return got
}

// lifetimeSteps is how far the clock moves before each dial, and whether that
// dial resumes, with a lifetime of 10 minutes: tickets re-issued by a
// resumption do not stretch the session.
var lifetimeSteps = []struct {
	advance time.Duration
	resumes bool
}{
	{0, false},
	{4 * time.Minute, true},
	{4 * time.Minute, true},
	{2*time.Minute - time.Second, true}, // 9 min 59 s after the full handshake
	{2 * time.Second, false},            // 10 min 1 s
	{10*time.Minute - time.Second, true},
	{2 * time.Second, false},
	{-time.Hour, false}, // a clock that went back ends sessions
}

// TestClientSessionLifetime holds a stock Go server, whose tickets are good for a
// week, to the client's lifetime.
func TestClientSessionLifetime(t *testing.T) {
	t.Parallel()
	for _, tls13 := range []bool{false, true} {
		t.Run(fmt.Sprintf("TLS 1.3 %v", tls13), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.client.Policy.AllowTLS13 = tls13
			cert, err := w.keys.Certificate(t.Context(), acquirer)
			require.NoError(t, err)
			s := stockServer(t, &tls.Config{Certificates: []tls.Certificate{*cert}, ClientAuth: tls.RequireAnyClientCert})
			signatures := int64(0)
			for i, step := range lifetimeSteps {
				w.clock.advance(step.advance)
				require.Equal(t, step.resumes, w.resumed(t, s), "step %d", i)
				if !step.resumes {
					signatures++
				}
				require.Equal(t, signatures, w.clientKey.signed.Load(), "a resumed handshake needs no signature")
			}
		})
	}
}

// TestServerSessionLifetime holds a stock Go client, which resumes without
// limit, to the server's lifetime.
func TestServerSessionLifetime(t *testing.T) {
	t.Parallel()
	for _, bare := range []bool{false, true} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(fmt.Sprintf("bare %v, %s", bare, tls.VersionName(version)), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				w.server.Policy.AllowTLS13 = true
				s := w.serve(t, bare)
				client := w.stockClient(t, version)
				signatures := int64(0)
				for i, step := range lifetimeSteps {
					w.clock.advance(step.advance)
					require.Equal(t, step.resumes, client.resumed(t, s), "step %d", i)
					if !step.resumes {
						signatures++
					}
					require.Equal(t, signatures, w.serverKey.signed.Load())
				}
			})
		}
	}
}

// serve starts w's server by Listen or by the bare configuration.
func (w *world) serve(t *testing.T, bare bool) *echoServer {
	t.Helper()
	if !bare {
		return w.listen(t)
	}
	cfg, err := w.server.ServerConfig(t.Context(), acquirer)
	require.NoError(t, err)
	return stockServer(t, cfg)
}

// stockClient is crypto/tls with a session cache.
type stockClient struct{ cfg *tls.Config }

func (w *world) stockClient(t *testing.T, version uint16) *stockClient {
	t.Helper()
	cert, err := w.keys.Certificate(t.Context(), terminal)
	require.NoError(t, err)
	return &stockClient{&tls.Config{
		RootCAs: w.trust.roots, ServerName: host, MaxVersion: version,
		Certificates: []tls.Certificate{*cert}, ClientSessionCache: tls.NewLRUClientSessionCache(0),
	}}
}

func (c *stockClient) resumed(t *testing.T, s *echoServer) bool {
	t.Helper()
	conn, err := tls.Dial("tcp", s.addr, c.cfg)
	require.NoError(t, err)
	ping(t, conn)
	require.NoError(t, conn.Close())
	return (<-s.state).DidResume
}

func TestSessionsOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.listen(t)
	w2 := *w
	w2.client = &Provider{Keys: w.keys, Trust: w.trust, SessionLifetime: -1}
	require.False(t, w2.resumed(t, s))
	require.False(t, w2.resumed(t, s), "client off")

	w.server.SessionLifetime = -1
	off := w.listen(t)
	require.False(t, w.resumed(t, off))
	require.False(t, w.resumed(t, off), "server off")
	client := w.stockClient(t, tls.VersionTLS12)
	require.False(t, client.resumed(t, off))
	require.False(t, client.resumed(t, off))
}

// TestSessionScope shows what ends a session at once, for our client.
func TestSessionScope(t *testing.T) {
	t.Parallel()
	changes := map[string]func(w *world){
		"certificate": func(w *world) { w.keys.set(terminal, w.root.Client("terminal 1")) },
		"trust":       func(w *world) { w.trust.gen.Add(1) },
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			cert, err := w.keys.Certificate(t.Context(), acquirer)
			require.NoError(t, err)
			s := stockServer(t, &tls.Config{Certificates: []tls.Certificate{*cert}, ClientAuth: tls.RequireAnyClientCert})
			require.False(t, w.resumed(t, s))
			require.True(t, w.resumed(t, s))
			change(w)
			require.False(t, w.resumed(t, s))
			require.True(t, w.resumed(t, s))
		})
	}
}

// TestSessionKey shows that sessions are not shared between aliases, names,
// addresses or policies: each of these dials is a full handshake.
func TestSessionKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.keys.set("second", w.root.Client("terminal 2"))
	one, two := w.listen(t), w.listen(t)
	dialers := []*Dialer{
		{Provider: w.client, Alias: terminal},
		{Provider: w.client, Alias: "second"},
		{Provider: w.client, Alias: terminal, ServerName: host},
	}
	for _, s := range []*echoServer{one, two} {
		for _, d := range dialers {
			for _, want := range []bool{false, true} {
				conn, err := d.DialContext(t.Context(), "tcp", s.addr)
				require.NoError(t, err)
				require.Equal(t, want, conn.(*tls.Conn).ConnectionState().DidResume)
				require.NoError(t, conn.Close())
			}
		}
	}
}

// TestServerSessionScope shows what ends a session at once, for our server.
func TestServerSessionScope(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s, other := w.listen(t), w.listen(t)
	client := w.stockClient(t, tls.VersionTLS12)
	require.False(t, client.resumed(t, s))
	require.True(t, client.resumed(t, s))
	require.False(t, client.resumed(t, other), "tickets of one listener are not good for another")
	require.False(t, client.resumed(t, s))
	w.trust.gen.Add(1)
	require.False(t, client.resumed(t, s), "trust changed")
	require.True(t, client.resumed(t, s))
}

// TestWithdrawnTrust shows that a resumed session is judged by the trust of
// now, even if Trust does not count its generations.
func TestWithdrawnTrust(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.listen(t)
	require.False(t, w.resumed(t, s))
	require.True(t, w.resumed(t, s))
	w.client.Trust = trusting(testpki.NewRoot("Other")) // of generation 0, as before
	_, err := w.dial(t, s)
	require.ErrorAs(t, err, new(*tls.CertificateVerificationError))
}

// TestConcurrentDials shares one Provider between many goroutines.
func TestConcurrentDials(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.listen(t)
	results := make(chan error, 16)
	for range 16 {
		go func() { results <- dialAndPing(t.Context(), w.client, s.addr, 4) }()
	}
	for range 16 {
		require.NoError(t, <-results)
	}
	require.LessOrEqual(t, w.clientKey.signed.Load(), int64(64))
	require.Less(t, w.serverKey.signed.Load(), int64(64), "some were resumed")
}

func dialAndPing(ctx context.Context, p *Provider, addr string, times int) error {
	for range times {
		conn, err := p.Dial(ctx, "tcp", addr, terminal)
		if err != nil {
			return err
		}
		if err := errors.Join(pingErr(conn), conn.Close()); err != nil {
			return err
		}
	}
	return nil
}

func TestSessionStore(t *testing.T) {
	t.Parallel()
	store := newSessionStore(2)
	now := time.Now()
	key := func(name string) sessionKey { return sessionKey{name: name} }
	put := func(name string, born time.Time) { store.put(&session{key: key(name), born: born}) }

	put("a", now)
	put("b", now)
	_, ok := store.get(key("a")) // now the most recently used
	require.True(t, ok)
	put("c", now)
	_, ok = store.get(key("b"))
	require.False(t, ok, "the least recently used goes")
	require.Equal(t, 2, store.order.Len())
	require.Len(t, store.byKey, 2)

	put("a", now.Add(-time.Second))
	s, ok := store.get(key("a"))
	require.True(t, ok)
	require.Equal(t, now, s.born, "an older session does not replace a younger one")
	put("a", now.Add(time.Second))
	s, _ = store.get(key("a"))
	require.Equal(t, now.Add(time.Second), s.born)

	store.drop(key("a"))
	store.drop(key("a"))
	_, ok = store.get(key("a"))
	require.False(t, ok)
}

func TestTicketKeys(t *testing.T) {
	t.Parallel()
	now := time.Now()
	keys := newTicketKeys(time.Minute, func() time.Time { return now })
	born, gen := now.Add(-time.Second), generation{1, 2, 3}
	ticket, err := keys.seal(born, gen, []byte("state"))
	require.NoError(t, err)

	open := func(ticket []byte) bool {
		gotBorn, gotGen, state, ok := keys.open(ticket)
		if ok {
			require.True(t, born.Equal(gotBorn))
			require.Equal(t, gen, gotGen)
			require.Equal(t, "state", string(state))
		}
		return ok
	}
	require.True(t, open(ticket))
	for i := range ticket {
		changed := append([]byte(nil), ticket...)
		changed[i] ^= 1
		require.False(t, open(changed), "byte %d", i)
		require.False(t, open(ticket[:i]), "cut at %d", i)
	}
	require.False(t, open(nil))

	other := newTicketKeys(time.Minute, time.Now)
	_, _, _, ok := other.open(ticket)
	require.False(t, ok, "no key yet")

	now = now.Add(90 * time.Second)
	require.True(t, open(ticket), "one more period")
	_, err = keys.seal(born, gen, nil) // rotates
	require.NoError(t, err)
	require.True(t, open(ticket))
	now = now.Add(90 * time.Second)
	require.False(t, open(ticket), "two periods are over")
	_, err = keys.seal(born, gen, nil)
	require.NoError(t, err)
	_, err = keys.seal(born, gen, nil)
	require.NoError(t, err)
	require.False(t, open(ticket))
}
