// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package screen

import (
	"crypto/subtle"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

var (
	errElsewhere = errors.New("this page is for the terminal itself")
	errHost      = errors.New("this page has another name")
	errOrigin    = errors.New("this request comes from another page")
	errToken     = errors.New("this page is out of date: load it again")
)

// local refuses what does not come from this machine, or was meant for another
// host name: a page whose name was made to lead here (DNS rebinding).
func local(r *http.Request) error {
	addr, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok || !isLoopback(addr.String()) || !isLoopback(r.RemoteAddr) {
		return errElsewhere
	}
	_, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return errElsewhere
	}
	host, hostPort, err := net.SplitHostPort(r.Host)
	if err != nil || hostPort != port || host != "localhost" && !isLoopback(r.Host) {
		return errHost
	}
	switch r.Header.Get("Sec-Fetch-Site") { // not sent by old browsers
	case "", "same-origin", "none":
		return nil
	}
	return errOrigin
}

func isLoopback(hostPort string) bool {
	addr, err := netip.ParseAddrPort(hostPort)
	return err == nil && addr.Addr().Unmap().IsLoopback()
}

// intended refuses a change that the page itself did not ask for.
func (p *Page) intended(r *http.Request) error {
	if r.Header.Get("Origin") != "http://"+r.Host {
		return errOrigin
	}
	token := r.PostFormValue("token")
	if subtle.ConstantTimeCompare([]byte(token), []byte(p.token)) != 1 {
		return errToken
	}
	return nil
}

// policy lets the page use what comes with it and nothing else.
var policy = strings.Join([]string{
	"default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self'", "connect-src 'self'",
	"form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'",
}, "; ")

func secure(h http.Header) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin") // with no-referrer, the Origin of a form is null
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}
