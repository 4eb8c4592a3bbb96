// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtls

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
	"weak"
)

// Transport returns an HTTP/1.1 transport that presents the identity route
// names. It is also right for WebSocket libraries that take an [http.Client].
//
// The transport connects to https origins itself or not at all: http URLs are
// refused with [ErrPlaintext], and there is no proxy. Should someone set one, its
// requests are refused too. The server is verified as the URL's host. Errors of
// a request wrap those of [Provider.Dial]. Fields such as IdleConnTimeout may be
// changed before first use; Proxy, the dial functions, TLSClientConfig and
// ForceAttemptHTTP2 must stay.
//
// When a certificate is renewed ([Provider.Refresh]), the transport's idle
// connections are closed, so that the next request presents the new one. A
// connection that is busy at that moment may carry more requests under the old
// certificate, until it is idle for IdleConnTimeout or reaches MaxConnAge;
// CloseIdleConnections ends it after its request. Clones are not known to p.
func (p *Provider) Transport(route Route) *http.Transport {
	return p.transport(p.dialRoute(route, []string{"http/1.1"}))
}

// AnonymousTransport returns a transport like Transport that presents no
// certificate, for enrolment with a server that accepts strangers; see
// [Dialer].NoClientCertificate. The server is verified as always.
func (p *Provider) AnonymousTransport() *http.Transport {
	d := Dialer{Provider: p, NoClientCertificate: true, NextProtos: []string{"http/1.1"}}
	return p.transport(d.DialContext)
}

// TransportHTTP2 returns a transport like Transport that prefers HTTP/2 where
// the server has it. It cannot carry WebSockets.
func (p *Provider) TransportHTTP2(route Route) *http.Transport {
	t := p.transport(p.dialRoute(route, []string{"h2", "http/1.1"}))
	t.ForceAttemptHTTP2 = true
	return t
}

// A dialFunc is what [http.Transport].DialTLSContext wants.
type dialFunc = func(ctx context.Context, network, addr string) (net.Conn, error)

func (p *Provider) transport(dial dialFunc) *http.Transport {
	t := &http.Transport{
		Proxy:                 nil,
		DialContext:           refusePlaintext,
		DialTLSContext:        dial,
		TLSClientConfig:       closedConfig(),
		MaxIdleConns:          100,
		IdleConnTimeout:       90 * time.Second,
		ExpectContinueTimeout: time.Second,
	}
	if p != nil {
		t.DialTLSContext = p.state().transports.dialing(t, dial)
	}
	return t
}

// transports are those a Provider has made that have dialled and are still in use.
type transports struct {
	mu  sync.Mutex
	all []weak.Pointer[http.Transport]
}

// dialing returns dial, which first makes user known. CloseIdleConnections counts
// as the first use of a transport, so it must not be called before another one.
func (t *transports) dialing(user *http.Transport, dial dialFunc) dialFunc {
	known := weak.Make(user)
	add := sync.OnceFunc(func() { t.add(known) })
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		add()
		return dial(ctx, network, addr)
	}
}

func (t *transports) add(user weak.Pointer[http.Transport]) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all = append(slices.DeleteFunc(t.all, func(w weak.Pointer[http.Transport]) bool { return w.Value() == nil }), user)
}

func (t *transports) closeIdle() {
	t.mu.Lock()
	all := slices.Clone(t.all)
	t.mu.Unlock()
	for _, w := range all {
		if one := w.Value(); one != nil {
			one.CloseIdleConnections()
		}
	}
}

// dialRoute resolves the alias from the address the transport pools by.
func (p *Provider) dialRoute(route Route, protos []string) dialFunc {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		if route == nil {
			return nil, ErrNoRoute
		}
		alias, err := route(addr)
		if err != nil {
			return nil, err
		}
		d := Dialer{Provider: p, Alias: alias, NextProtos: protos}
		return d.DialContext(ctx, network, addr)
	}
}

// refusePlaintext stands where a transport would dial http URLs and proxies.
func refusePlaintext(context.Context, string, string) (net.Conn, error) {
	return nil, ErrPlaintext
}

// closedConfig is for the handshakes that a transport performs itself, which is
// those through a proxy. It refuses every server.
func closedConfig() *tls.Config {
	cfg := new(Provider).baseConfig()
	cfg.VerifyConnection = func(tls.ConnectionState) error { return ErrPlaintext }
	return cfg
}
