// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package pairing

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/hsmtls"
)

func TestRevoke(t *testing.T) {
	t.Parallel()
	w := serve(t, withHandler)
	c, b := w.paired(t, "1")
	c2, b2 := w.paired(t, "2")
	_, _, err := get(t, c, b)
	require.NoError(t, err)

	require.ErrorIs(t, w.Revoke(t.Context(), "3"), ErrUnknown)
	require.NoError(t, w.Revoke(t.Context(), "1"))
	require.ErrorIs(t, w.Revoke(t.Context(), "1"), ErrUnknown)
	require.Len(t, w.List(), 1)

	_, _, err = get(t, c, b)
	require.Error(t, err, "the handshake fails")
	status, text, err := get(t, c2, b2)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "2", text)

	_, b = w.paired(t, "1")
	status, _, err = get(t, c, b)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status, "paired again")
}

func TestRevokeClosesConnections(t *testing.T) {
	t.Parallel()
	w := serve(t, withHandler)
	c, b := w.paired(t, "1")
	c2, b2 := w.paired(t, "2")
	dial := func(c *Client, b *Bundle) *websocket.Conn {
		transport, err := c.Transport(b)
		require.NoError(t, err)
		conn, _, err := dialWebSocket(t, "wss://"+w.addr+"/", websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}})
		require.NoError(t, err)
		t.Cleanup(func() { conn.CloseNow() })
		require.NoError(t, conn.Write(t.Context(), websocket.MessageText, []byte("hello")))
		_, text, err := conn.Read(t.Context())
		require.NoError(t, err)
		require.Equal(t, "hello", string(text))
		return conn
	}
	revoked, other := dial(c, b), dial(c2, b2)
	kept, err := c.Transport(b)
	require.NoError(t, err)
	resp, err := (&http.Client{Transport: kept}).Get("https://" + w.addr)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())

	require.NoError(t, w.Revoke(t.Context(), "1"))
	_, _, err = revoked.Read(t.Context())
	require.Error(t, err)
	_, err = (&http.Client{Transport: kept}).Get("https://" + w.addr)
	require.Error(t, err, "neither the kept connection nor its session is good")
	require.NoError(t, other.Write(t.Context(), websocket.MessageText, []byte("hello")))
	_, _, err = other.Read(t.Context())
	require.NoError(t, err)
}

// TestRevokedSessionIsNotResumed uses one Provider for both handshakes.
func TestRevokedSessionIsNotResumed(t *testing.T) {
	t.Parallel()
	w := serve(t, withHandler)
	c, b := w.paired(t, "1")
	p, err := c.provider(b)
	require.NoError(t, err)
	dial := func() (hsmtls.ConnReport, error) {
		conn, err := c.dialer(p, posAlias).DialContext(t.Context(), "tcp", w.addr)
		if err != nil {
			return hsmtls.ConnReport{}, err
		}
		defer conn.Close()
		report, err := hsmtls.Report(conn)
		require.NoError(t, err)
		_, err = conn.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
		if err == nil {
			_, err = conn.Read(make([]byte, 1)) // a TLS client may hear of a refusal only when it reads
		}
		return report, err
	}
	_, err = dial()
	require.NoError(t, err)
	report, err := dial()
	require.NoError(t, err)
	require.True(t, report.Resumed)
	require.NoError(t, w.Revoke(t.Context(), "1"))
	_, err = dial()
	require.Error(t, err)
}

// TestRecheck has somebody else take the POS from the list.
func TestRecheck(t *testing.T) {
	t.Parallel()
	w := serve(t, withHandler)
	c, b := w.paired(t, "1")
	conn, err := c.Dial(t.Context(), b)
	require.NoError(t, err)
	defer conn.Close()
	ping := func() error {
		_, err := conn.Write([]byte("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n"))
		if err == nil {
			_, err = conn.Read(make([]byte, 1024))
		}
		return err
	}
	w.Recheck()
	require.NoError(t, ping())
	require.NoError(t, w.registry.Remove(t.Context(), b.Chain[0]))
	w.Recheck()
	require.Error(t, ping())
	new(Terminal).Recheck()
}

func TestRevokeFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	require.NoError(t, w.try(t.Context(), "1", w.tap(t), delivered))
	w.registry.set(nil, func(*x509.Certificate) error { return errBroken })
	require.ErrorIs(t, w.Revoke(t.Context(), "1"), errBroken)
	require.Len(t, w.List(), 1)
}

// TestUnlistedCertificateOfTheCA is refused in the handshake, although the CA
// vouches for it.
func TestUnlistedCertificateOfTheCA(t *testing.T) {
	t.Parallel()
	w := serve(t, withHandler)
	key := newKey(t)
	chain, err := w.Issuer.Issue("1", key.Public(), time.Now())
	require.NoError(t, err)
	_, _, err = get(t, w.pos(t, "https"), &Bundle{Key: key, Chain: chain})
	require.Error(t, err)
}

func TestPosTrust(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	require.NoError(t, w.try(t.Context(), "1", w.tap(t), delivered))
	trust, leaf, now := w.state().trust, w.List()[0].Certificate, time.Now()
	chain := append([]*x509.Certificate{leaf}, w.Issuer.Chain...)
	got, err := trust.Verify(chain, "", x509.ExtKeyUsageClientAuth, now)
	require.NoError(t, err)
	require.Equal(t, leaf, got[0])

	_, err = trust.Verify(chain, device, x509.ExtKeyUsageServerAuth, now)
	require.ErrorIs(t, err, errNotListed, "a POS is no server")
	_, err = trust.Verify(nil, "", x509.ExtKeyUsageClientAuth, now)
	require.ErrorIs(t, err, errNotListed)
	_, err = trust.Verify(chain, "", x509.ExtKeyUsageClientAuth, leaf.NotAfter.Add(time.Second))
	require.ErrorAs(t, err, new(x509.CertificateInvalidError), "on the list is not enough")

	before := trust.Generation()
	require.NoError(t, w.Revoke(t.Context(), "1"))
	require.Greater(t, trust.Generation(), before)
	_, err = trust.Verify(chain, "", x509.ExtKeyUsageClientAuth, now)
	require.ErrorIs(t, err, errNotListed)
}

// TestStrangersAreLimited opens connections that say nothing.
func TestStrangersAreLimited(t *testing.T) {
	t.Parallel()
	l, via := newLive(), new(liveListener)
	pair := func() net.Conn { c, _ := net.Pipe(); t.Cleanup(func() { c.Close() }); return c }
	var held []*liveConn
	for range maxStrangersPerSource {
		c, ok := l.accept(pair(), via)
		require.True(t, ok)
		held = append(held, c)
	}
	_, ok := l.accept(pair(), via)
	require.False(t, ok, "this source has enough")
	require.True(t, l.mark(held[0], POS{"1", &x509.Certificate{}}))
	require.True(t, l.mark(held[0], POS{"1", &x509.Certificate{}}))
	require.Equal(t, 1, l.byPOS["1"])
	l.byPOS["2"] = maxPerPOS
	require.False(t, l.mark(held[1], POS{"2", &x509.Certificate{}}))
	delete(l.byPOS, "2")
	c, ok := l.accept(pair(), via)
	require.True(t, ok, "a POS is no stranger")
	for _, c := range append(held, c) {
		require.NoError(t, c.Close())
		require.NoError(t, c.Close())
	}
	require.Zero(t, l.unknown)
	require.Empty(t, l.strangers)
	require.Empty(t, l.conns)
	require.Empty(t, l.byPOS)
	l.mark(held[0], POS{"1", &x509.Certificate{}})
	l.mark(nil, POS{})
	require.Zero(t, l.closeIf(func(POS) bool { return true }))
	l.unknown = maxStrangers
	_, ok = l.accept(pair(), via)
	require.False(t, ok, "the terminal has enough")
}

// TestStrangersConnectionsEnd answers once and closes.
func TestStrangersConnectionsEnd(t *testing.T) {
	t.Parallel()
	w := serve(t)
	p, err := w.pos(t, "https").provider(nil)
	require.NoError(t, err)
	d := w.pos(t, "https").dialer(p, "")
	d.NoClientCertificate = true
	conn, err := d.DialContext(t.Context(), "tcp", w.addr)
	require.NoError(t, err)
	defer conn.Close()
	report, err := hsmtls.Report(conn)
	require.NoError(t, err)
	require.Equal(t, uint16(tls.VersionTLS12), report.Version)
	_, err = conn.Write([]byte("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n"))
	require.NoError(t, err)
	text := readAll(t, conn)
	require.Contains(t, text, "403 Forbidden")
	require.Contains(t, text, `"type":"ErrorResponse"`)
	require.Eventually(t, func() bool {
		w.state().live.mu.Lock()
		defer w.state().live.mu.Unlock()
		return len(w.state().live.conns) == 0
	}, 30*time.Second, time.Millisecond)
}
