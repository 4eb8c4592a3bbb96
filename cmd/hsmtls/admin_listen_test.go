// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseAdmin(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]adminAddress{
		"127.0.0.1:9464": {"tcp", "127.0.0.1:9464"},
		"127.8.8.8:1":    {"tcp", "127.8.8.8:1"},
		"[::1]:0":        {"tcp", "[::1]:0"},
		"localhost:9464": {"tcp", "127.0.0.1:9464"},
		"unix:/run/a":    {"unix", "/run/a"},
	} {
		got, err := parseAdmin(given)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	for _, given := range []string{"", ":9464", "9464", "0.0.0.0:9464", "[::]:9464", "192.0.2.1:1", "host.example:1", "127.0.0.1", "unix:", "unix:@abstract", "localhost.example:1"} {
		_, err := parseAdmin(given)
		var usage *usageError
		require.ErrorAs(t, err, &usage, given)
	}
}

func TestMeantForUs(t *testing.T) {
	t.Parallel()
	asked := func(host string, local net.Addr) bool {
		r := httptest.NewRequest(http.MethodGet, "/status", nil)
		r.Host = host
		return meantForUs(r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, local)))
	}
	tcp, unix := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9464}, &net.UnixAddr{Net: "unix"}
	for _, host := range []string{"localhost", "LocalHost:9464", "localhost:1", "127.0.0.1:9464", "127.0.0.1", "[::1]:9464", "[::1]", "127.8.8.8:1"} {
		require.True(t, asked(host, tcp), host)
	}
	for _, host := range []string{"", "evil.example", "evil.example:9464", "localhost.evil.example", "127.0.0.1.evil.example:9464", "192.0.2.1:9464", "0.0.0.0:9464", "[::]:9464"} {
		require.False(t, asked(host, tcp), host)
		require.True(t, asked(host, unix), "no browser gets to a socket: %s", host)
	}
}

func TestGuarded(t *testing.T) {
	t.Parallel()
	h := guarded(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }))
	for method, want := range map[string]int{
		http.MethodGet: http.StatusOK, http.MethodHead: http.StatusOK, http.MethodPost: http.StatusMethodNotAllowed,
		http.MethodPut: http.StatusMethodNotAllowed, http.MethodDelete: http.StatusMethodNotAllowed,
		http.MethodOptions: http.StatusMethodNotAllowed, http.MethodTrace: http.StatusMethodNotAllowed,
	} {
		w, r := httptest.NewRecorder(), httptest.NewRequest(method, "/status", nil)
		r.Host = "localhost:9464"
		h.ServeHTTP(w, r)
		require.Equal(t, want, w.Code, method)
		require.Equal(t, adminPolicy, w.Header().Get("Content-Security-Policy"))
		require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
	}
}
