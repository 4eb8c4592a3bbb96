// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build unix && cgo

package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/tunnel"
)

// web is an HTTP service without TLS: it answers a body with its digest, and counts.
func web(t *testing.T) (addr string, served *atomic.Int64) {
	t.Helper()
	served = new(atomic.Int64)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		served.Add(1)
		sum := sha256.New()
		if _, err := io.Copy(sum, r.Body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		_, _ = io.WriteString(w, hex.EncodeToString(sum.Sum(nil)))
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String(), served
}

// TestTunnelCurl has curl send a body through both halves, from a Unix socket.
func TestTunnelCurl(t *testing.T) {
	t.Parallel()
	program(t, "curl")
	addr, served := web(t)
	s, dir := newStation(t, setup{}), t.TempDir()
	s.through(t, "unix:"+filepath.Join(dir, "web.sock"), addr)
	body := bytesOf("curl", 5<<20)
	out, err := run(t, dir, string(body), "curl", "-sS", "--fail", "--unix-socket", "web.sock", "--data-binary", "@-", "http://service.example/")
	require.NoError(t, err, out)
	sum := sha256.Sum256(body)
	require.Equal(t, hex.EncodeToString(sum[:]), out)
	require.EqualValues(t, 1, served.Load())
}

var wrkRequests = regexp.MustCompile(`(?m)^\s*(\d+) requests in `)

// TestTunnelWrk has wrk ask through both halves on many connections at once: each
// answer arrives.
func TestTunnelWrk(t *testing.T) {
	t.Parallel()
	program(t, "wrk")
	addr, served := web(t)
	s := newStation(t, setup{})
	client := s.through(t, loopback+":0", addr)
	answers := int64(0)
	for seconds := 2; answers == 0 && seconds <= 64; seconds *= 2 { // a machine may be busy
		answers = wrk(t, seconds, "http://"+client.Addr().String()+"/")
		t.Logf("%d answers in %d s", answers, seconds)
	}
	require.Positive(t, answers)
	require.GreaterOrEqual(t, served.Load(), answers)
	require.GreaterOrEqual(t, client.Status().Accepted, uint64(32))
	require.Zero(t, client.Status().Ended[tunnel.ReasonTarget])
}

// wrk has all that it asks answered, and returns how often that was.
func wrk(t *testing.T, seconds int, url string) int64 {
	t.Helper()
	out, err := run(t, t.TempDir(), "", "wrk", "-t", "2", "-c", "32", "-d", strconv.Itoa(seconds), "--timeout", "1m", url)
	require.NoError(t, err, out)
	found := wrkRequests.FindStringSubmatch(out)
	require.NotNil(t, found, out)
	require.NotContains(t, out, "Socket errors")
	require.NotContains(t, out, "Non-2xx")
	answers, err := strconv.ParseInt(found[1], 10, 64)
	require.NoError(t, err)
	return answers
}
