// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtls

import (
	"crypto/tls"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptrace"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

// watchedKeys are fakeKeys that tell of changes.
type watchedKeys struct {
	*fakeKeys
	mu       sync.Mutex
	watchers map[int]func()
	stopped  chan struct{} // one element per watcher that left
}

func watched(w *world) *watchedKeys {
	k := &watchedKeys{fakeKeys: w.keys, watchers: map[int]func(){}, stopped: make(chan struct{}, 16)}
	w.client.Keys, w.server.Keys = k, k
	return k
}

func (k *watchedKeys) Watch(changed func()) (stop func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := len(k.watchers)
	k.watchers[n] = changed
	return func() { k.stopped <- struct{}{} }
}

func (k *watchedKeys) renew(alias string, cert tls.Certificate) {
	k.set(alias, cert)
	k.tell()
}

func (k *watchedKeys) tell() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, changed := range k.watchers {
		changed()
	}
}

// TestSwitch renews both certificates and does nothing else.
func TestSwitch(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	keys := watched(w)
	s := w.listen(t)
	open, err := w.dial(t, s)
	require.NoError(t, err)
	resumed, err := w.dial(t, s)
	require.NoError(t, err)
	ping(t, resumed)
	require.True(t, resumed.ConnectionState().DidResume)
	require.Equal(t, 1, w.client.state().sessions.order.Len())

	keys.renew(terminal, w.root.Client("terminal 1 renewed"))
	require.Zero(t, w.client.state().sessions.order.Len(), "its sessions are forgotten")
	<-s.state
	<-s.state
	conn, err := w.dial(t, s)
	require.NoError(t, err)
	require.False(t, conn.ConnectionState().DidResume)
	ping(t, conn)
	require.Equal(t, "terminal 1 renewed", (<-s.state).PeerCertificates[0].Subject.CommonName)

	renewed := w.root.Server(host, "127.0.0.1")
	keys.renew(acquirer, renewed)
	conn, err = w.dial(t, s)
	require.NoError(t, err)
	require.False(t, conn.ConnectionState().DidResume)
	require.Equal(t, renewed.Leaf.SerialNumber, conn.ConnectionState().PeerCertificates[0].SerialNumber)
	ping(t, open)
}

// TestSwitchTransport has one connection that is busy and one that is idle when
// the certificate is renewed.
func TestSwitchTransport(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	keys := watched(w)
	idle := w.httpServer(t)
	release := make(chan struct{})
	busy := w.handle(t, func(rw http.ResponseWriter, r *http.Request) {
		rw.(http.Flusher).Flush()
		<-release
		io.WriteString(rw, r.TLS.PeerCertificates[0].Subject.CommonName)
	})
	tr := w.client.Transport(Alias(terminal))
	defer tr.CloseIdleConnections()
	require.Equal(t, "terminal 1", get(t, tr, "https://"+idle))
	response, err := (&http.Client{Transport: tr}).Get("https://" + busy)
	require.NoError(t, err)
	defer response.Body.Close()

	keys.renew(terminal, w.root.Client("terminal 1 renewed"))
	require.Equal(t, "terminal 1 renewed", get(t, tr, "https://"+idle))
	close(release)
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Equal(t, "terminal 1", string(body), "it went on undisturbed")

	reused := false
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { reused = i.Reused }})
	for range 10 { // net/http gives a connection up if its own goroutine is late
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+idle, nil)
		require.NoError(t, err)
		again, err := tr.RoundTrip(request)
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, again.Body)
		require.NoError(t, err)
		require.NoError(t, again.Body.Close())
		if reused {
			return
		}
	}
	require.Fail(t, "the new connection is not kept")
}

// handle serves HTTP with w's server until the test ends.
func (w *world) handle(t *testing.T, handler http.HandlerFunc) (addr string) {
	t.Helper()
	ln, err := w.server.Listen(t.Context(), "tcp", "127.0.0.1:0", acquirer)
	require.NoError(t, err)
	srv := &http.Server{Handler: handler}
	go srv.Serve(ln)
	t.Cleanup(func() { srv.Close() })
	return ln.Addr().String()
}

// TestSwitchOfWhatIsGone keeps a listener's certificate and forgets a dialler's.
func TestSwitchOfWhatIsGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	keys := watched(w)
	var log lockedBuffer
	w.server.Logger = slog.New(slog.NewTextHandler(&log, nil))
	s := w.listen(t)
	conn, err := w.dial(t, s)
	require.NoError(t, err)
	w.keys.remove(acquirer)
	w.keys.remove(terminal)
	keys.tell()
	require.Contains(t, log.String(), "certificate not switched")
	require.NoError(t, w.client.Refresh(t.Context()), "nobody presents it")
	_, err = w.dial(t, s)
	require.ErrorIs(t, err, errUnknownAlias)
	ping(t, conn)
	keys.renew(terminal, w.root.Client("terminal 1 renewed"))
	_, err = w.dial(t, s)
	require.NoError(t, err)
}

// TestSwitchOfWhatIsClosed lets go of a listener before its certificate is deleted.
func TestSwitchOfWhatIsClosed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ln, err := w.server.Listen(t.Context(), "tcp", "127.0.0.1:0", acquirer)
	require.NoError(t, err)
	require.NoError(t, w.server.Refresh(t.Context()))
	w.keys.remove(acquirer)
	require.ErrorIs(t, w.server.Refresh(t.Context()), errUnknownAlias)
	require.NoError(t, ln.Close())
	require.Eventually(t, func() bool { runtime.GC(); return w.server.Refresh(t.Context()) == nil }, patience, time.Millisecond)
	require.Empty(t, w.server.state().aliases())
}

// TestPresentDuringChange renews between the moment when Keys answer a listener
// and the one when it begins to present the answer.
func TestPresentDuringChange(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.server
	since := p.state().live.changes.Load()
	old, err := p.identity(t.Context(), acquirer)
	require.NoError(t, err)
	w.keys.set(acquirer, w.root.Server(host))
	require.NoError(t, p.Refresh(t.Context()))
	_, ok := p.state().live.keep(old, since)
	require.False(t, ok)
	live, err := p.present(t.Context(), acquirer)
	require.NoError(t, err)
	require.NotEqual(t, old.digest, live.now.Load().digest)
}

// TestWatchEnds lets go of a Provider, whose Keys must not keep it.
func TestWatchEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	keys := watched(w)
	func() {
		p := &Provider{Keys: keys, Trust: w.trust}
		_, err := p.ClientConfig(t.Context(), terminal)
		require.NoError(t, err)
		p.Transport(Alias(terminal))
	}()
	require.Eventually(t, func() bool { runtime.GC(); return len(keys.stopped) > 0 }, patience, time.Millisecond)
	keys.tell() // nobody is there
}

func TestTransportsAreForgotten(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for range 100 {
		_, err := w.client.Transport(Alias(terminal)).DialTLSContext(t.Context(), "tcp", "")
		require.ErrorIs(t, err, ErrNoServerName)
		runtime.GC()
	}
	require.NotEmpty(t, w.client.state().transports.all)
	require.Less(t, len(w.client.state().transports.all), 100)
}

// TestSwitchBeforeFirstUse renews while a transport is still being set up: it is not
// used before its owner uses it, or HTTP/2 would be off in it for good.
func TestSwitchBeforeFirstUse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	keys := watched(w)
	l := ListenConfig{Provider: w.server, Alias: acquirer, NextProtos: []string{"h2", "http/1.1"}}
	ln, err := l.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	srv := &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { io.WriteString(rw, r.Proto) })}
	go srv.Serve(ln)
	t.Cleanup(func() { srv.Close() })
	_, err = w.client.ClientConfig(t.Context(), terminal) // the alias is in use
	require.NoError(t, err)

	tr := w.client.transport(w.client.dialRoute(Alias(terminal), []string{"h2", "http/1.1"}))
	defer tr.CloseIdleConnections()
	keys.renew(terminal, w.root.Client("terminal 1 renewed"))
	tr.ForceAttemptHTTP2 = true
	require.Equal(t, "HTTP/2.0", get(t, tr, "https://"+ln.Addr().String()))
}

// TestExpiryWarning moves the clock towards the end of an issuer.
func TestExpiryWarning(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var log lockedBuffer
	cert := w.root.Client("terminal 1")
	w.keys.set(terminal, cert)
	p := &Provider{Keys: w.keys, Trust: w.trust, Now: w.clock.now, Logger: slog.New(slog.NewTextHandler(&log, nil))}
	warnings := func(n int) {
		t.Helper()
		_, err := p.ClientConfig(t.Context(), terminal)
		require.NoError(t, err)
		require.NoError(t, p.Refresh(t.Context()))
		require.Equal(t, n, strings.Count(log.String(), "certificate ends soon"), log.String())
	}
	left := cert.Leaf.NotAfter.Sub(w.clock.now())
	warnings(0)
	w.clock.advance(left - 31*24*time.Hour)
	warnings(0)
	w.clock.advance(24 * time.Hour)
	warnings(1)
	require.Contains(t, log.String(), "days_left=30")
	w.clock.advance(23 * time.Hour)
	warnings(1)
	w.clock.advance(time.Hour)
	warnings(2)
	w.clock.advance(30 * 24 * time.Hour)
	warnings(3)
	require.Contains(t, log.String(), "days_left=-1")

	p = &Provider{Keys: w.keys, Trust: w.trust, Now: w.clock.now, Logger: p.Logger, ExpiryWarning: -1}
	warnings(3)
	renewed := testpki.ClientTemplate("terminal 1")
	renewed.NotAfter = w.clock.now().Add(48 * time.Hour)
	cert.Certificate = [][]byte{w.root.Issue(renewed, w.clientKey.Public()).Raw}
	cert.Leaf, cert.PrivateKey = nil, w.clientKey.Signer
	w.keys.set(terminal, cert)
	p = &Provider{Keys: w.keys, Trust: w.trust, Now: w.clock.now, Logger: p.Logger, ExpiryWarning: time.Hour}
	warnings(3)
	w.clock.advance(47 * time.Hour)
	warnings(4)
}

// expiring notes for how long ahead it is asked.
type expiring struct {
	Trust
	within []time.Duration
}

func (e *expiring) LogExpiring(_ *slog.Logger, within time.Duration) {
	e.within = append(e.within, within)
}

// TestExpiryWarningOfTrust leaves to Trust what to say.
func TestExpiryWarningOfTrust(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	trust := &expiring{Trust: w.trust}
	for _, p := range []*Provider{
		{Logger: slog.New(slog.DiscardHandler)},
		{Logger: slog.New(slog.DiscardHandler), ExpiryWarning: time.Hour},
		{Logger: slog.New(slog.DiscardHandler), ExpiryWarning: -1},
		{},
	} {
		p.Keys, p.Trust, p.Now = w.keys, trust, w.clock.now
		_, err := p.ClientConfig(t.Context(), terminal)
		require.NoError(t, err)
	}
	require.Equal(t, []time.Duration{30 * 24 * time.Hour, time.Hour}, trust.within)
}

// TestAnonymousTransport enrols with a server that accepts strangers, and is
// refused by one that does not.
func TestAnonymousTransport(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ln, err := (&ListenConfig{Provider: w.server, Alias: acquirer, AllowNoClientCertificate: true}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	srv := &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if len(r.TLS.PeerCertificates) == 0 {
			io.WriteString(rw, "a stranger")
		}
	})}
	go srv.Serve(ln)
	defer srv.Close()
	tr := (&Provider{Trust: w.trust}).AnonymousTransport()
	defer tr.CloseIdleConnections()
	require.Equal(t, "a stranger", get(t, tr, "https://"+ln.Addr().String()))
	_, err = (&http.Client{Transport: tr}).Get("https://" + w.httpServer(t))
	require.Error(t, err)
	_, err = (&http.Client{Transport: tr}).Get("http://" + ln.Addr().String())
	require.ErrorIs(t, err, ErrPlaintext)
	_, err = (&http.Client{Transport: new(Provider).AnonymousTransport()}).Get("https://" + ln.Addr().String())
	require.ErrorIs(t, err, ErrIncomplete)
}
