// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package pairing

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/pem"
	"log/slog"
	"net"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/hsmtls"
	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

func TestEvents(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	seen := make(chan Event, 100)
	var running sync.WaitGroup
	started := make(chan struct{})
	running.Go(func() {
		codes := 0
		for e := range w.Events(t.Context()) {
			switch e.Kind {
			case EventState:
				close(started)
			case EventCode:
				if codes++; codes == 2 {
					return
				}
			}
			seen <- e
		}
	})
	<-started
	code := w.tap(t)
	ask(w, "POST", "/", body("1", otherCode(t, code)))
	ask(w, "POST", "/", body("1", code))
	require.NoError(t, w.Revoke(t.Context(), "1"))
	w.Dismiss()
	w.Dismiss()
	w.tap(t) // the end: Close would end the loop before it has heard everything
	running.Wait()
	close(seen)
	var kinds []EventKind
	for e := range seen {
		kinds = append(kinds, e.Kind)
		switch e.Kind {
		case EventCode, EventWrong:
			require.Equal(t, code, e.State.Code)
		case EventPaired, EventRevoked:
			require.Equal(t, "1", e.POSID)
			require.True(t, e.State.Code.IsZero())
		}
	}
	require.Equal(t, []EventKind{EventState, EventCode, EventWrong, EventWorking, EventPaired, EventRevoked, EventClosed}, kinds)
}

func TestEventsEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for e := range w.Events(t.Context()) {
		require.Equal(t, EventState, e.Kind)
		require.Equal(t, PhaseIdle, e.State.Phase)
		break
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for range w.Events(ctx) {
		cancel()
	}
	for range w.Events(t.Context()) {
		require.NoError(t, w.Close())
	}
	require.Empty(t, w.state().hub.listeners)
}

// TestLogHoldsNoSecret reads what a whole life of pairing has logged.
func TestLogHoldsNoSecret(t *testing.T) {
	t.Parallel()
	var log lockedBuffer
	w := serve(t, withHandler, func(x *Terminal) {
		x.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	code := w.tap(t)
	wrong := otherCode(t, code)
	_, err := w.pos(t, "https").Pair(t.Context(), Request{POSID: "till 4", Code: wrong})
	require.ErrorIs(t, err, ErrCode)
	_, err = w.pos(t, "wss").Pair(t.Context(), Request{POSID: "till 4", Code: wrong})
	require.ErrorIs(t, err, ErrCode)
	c := w.pos(t, "https")
	b, err := c.Pair(t.Context(), Request{POSID: "till 4", Code: code})
	require.NoError(t, err)
	_, err = c.Renew(t.Context(), b, nil)
	require.NoError(t, err)
	require.Error(t, w.try(t.Context(), "till 5", w.tap(t), func([]byte) error { return errBroken }))
	last := w.State().Code
	require.NoError(t, w.Revoke(t.Context(), "till 4"))

	for _, what := range []string{"setup code shown", "setup code refused", "POS paired", "renewed", "pairing failed", "POS revoked", "till 4", "source=", "serial="} {
		require.Eventually(t, func() bool { return strings.Contains(log.String(), what) }, 30*time.Second, time.Millisecond, what)
	}
	text := log.String()
	secrets := []string{code.Reveal(), wrong.Reveal(), last.Reveal(), "BEGIN"}
	for rest := encodeBundle(posKey1(), nil); len(rest) > 0; {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		for line := range strings.Lines(string(pem.EncodeToMemory(block))) {
			secrets = append(secrets, strings.TrimSpace(line))
		}
	}
	for _, secret := range secrets {
		require.NotContains(t, text, secret)
	}
}

// lockedBuffer is a bytes.Buffer for several writers.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// nobody observes nothing.
type nobody struct{ hsmtls.Observer }

// TestProviderIsHonoured sees to it that a field that hsmtls.Provider gets is not
// forgotten.
func TestProviderIsHonoured(t *testing.T) {
	t.Parallel()
	p := &hsmtls.Provider{
		Keys: memoryKeys{}, Trust: new(memory), Policy: hsmtls.Policy{AllowTLS13: true},
		VerifyPeer:      func(tls.ConnectionState) error { return nil },
		SessionLifetime: 1, HandshakeTimeout: 2, SignTimeout: 3, MaxConnAge: 4,
		Sessions: 6, ExpiryWarning: 7,
		Admission: hsmtls.Admission{Handshakes: 5}, Now: time.Now, Logger: slog.Default(), Observer: nobody{},
	}
	got := reflect.ValueOf(served(p, new(posTrust), nil)).Elem()
	want := reflect.ValueOf(p).Elem()
	for i := range want.NumField() {
		field := want.Type().Field(i)
		if !field.IsExported() {
			continue
		}
		require.False(t, want.Field(i).IsZero(), "give %s a value here", field.Name)
		require.False(t, got.Field(i).IsZero(), "%s is forgotten", field.Name)
		if field.Name != "Keys" && field.Name != "Trust" && field.Type.Kind() != reflect.Func {
			require.Equal(t, want.Field(i).Interface(), got.Field(i).Interface(), field.Name)
		}
	}
}

func TestRootIsSentAlong(t *testing.T) {
	t.Parallel()
	root := testpki.NewRoot("root")
	server := root.NewIntermediate("CA").Server(device)
	whole := server
	whole.Certificate = append(append([][]byte(nil), server.Certificate...), root.Certificate.Raw)
	for name, test := range map[string]struct {
		keys rootKeys
		want int
		err  error
	}{
		"added":      {rootKeys{memoryKeys{"a": &server}, root.Certificate}, 3, nil},
		"is there":   {rootKeys{memoryKeys{"a": &whole}, root.Certificate}, 3, nil},
		"no root":    {rootKeys{memoryKeys{"a": &server}, nil}, 2, nil},
		"other root": {rootKeys{memoryKeys{"a": &server}, testpki.NewRoot("other").Certificate}, 0, errRootMismatch},
		"no alias":   {rootKeys{memoryKeys{}, root.Certificate}, 0, errUnknownAlias},
	} {
		cert, err := test.keys.Certificate(t.Context(), "a")
		require.ErrorIs(t, err, test.err, name)
		if err == nil {
			require.Len(t, cert.Certificate, test.want, name)
		}
	}
	require.Len(t, server.Certificate, 2, "the caller's is not touched")
}

func TestServeTwice(t *testing.T) {
	t.Parallel()
	w := serve(t, withHandler)
	addr, end := w.serveBeside(t)
	c, b := w.paired(t, "1")
	c.URL = "https://" + addr
	status, _, err := get(t, c, b)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status)
	require.NoError(t, w.Refresh(t.Context()))
	end()
	require.Len(t, w.Details().Addresses, 1)
	require.ErrorIs(t, new(Terminal).Refresh(t.Context()), ErrIncomplete)
}

func TestServeEndsWithClose(t *testing.T) {
	t.Parallel()
	w := serve(t, withHandler)
	require.NoError(t, w.Close())
	_, err := w.pos(t, "https").Pair(t.Context(), aRequest(t, nil))
	require.Error(t, err)
}

func TestServeWithoutIdentity(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(t *Terminal) { t.Alias = "unknown" })
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.ErrorIs(t, w.Serve(t.Context(), ln), errUnknownAlias)
}
