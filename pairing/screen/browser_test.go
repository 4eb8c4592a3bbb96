// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build unix && cgo

package screen_test

import (
	"bufio"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/browsertest"
	"github.com/hsmtls/hsmtls-go/pairing"
)

// TestBrowser is the operator at the terminal's display: Chromium in front of the
// page, a token behind it, and a POS in the network.
func TestBrowser(t *testing.T) {
	t.Parallel()
	program := browsertest.Chromium(t)
	ahead := new(atomic.Int64) // of the terminal's clock
	terminal := newTokenTerminal(t, func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) })
	d := newDisplay(t, program, open(t, terminal).base)

	d.keyboard(t)
	d.codeIsReplaced(t, terminal, ahead)
	d.details(t, terminal)
	client, bundle := d.pair(t, terminal)
	conn := connect(t, client, bundle)
	d.revoke(t, terminal)
	_, err := conn.Read(make([]byte, 1))
	require.Error(t, err, "the connection of the POS is closed")
	_, err = client.Dial(t.Context(), bundle)
	require.Error(t, err, "and it gets no other")

	d.detectsViolations(t)
}

// keyboard shows and closes a code without a mouse.
func (d *display) keyboard(t *testing.T) {
	d.waits(t, "#generate")
	d.shoot(t, "ready")
	require.Equal(t, "generate", d.focus(t))
	d.types(t, kb.Enter)
	d.waits(t, "#code")
	require.Equal(t, "again", d.focus(t))
	d.types(t, kb.Tab)
	require.Equal(t, "close", d.focus(t))
	d.types(t, kb.Tab, kb.Enter)
	require.True(t, d.is(t, `document.getElementById("details").open`))
	d.fits(t)
	d.types(t, kb.Enter)
	d.run(t, chromedp.KeyEvent(kb.Tab, chromedp.KeyModifiers(input.ModifierShift)))
	require.Equal(t, "close", d.focus(t))
	d.types(t, kb.Enter)
	d.waits(t, "#generate")
	require.Equal(t, "generate", d.focus(t))
}

// codeIsReplaced taps, and sees the seconds go by and the code with them.
func (d *display) codeIsReplaced(t *testing.T, terminal *pairing.Terminal, ahead *atomic.Int64) {
	d.taps(t, "#generate")
	d.waits(t, "#code")
	first := d.code(t)
	require.Equal(t, terminal.State().Code.Reveal(), first)
	clock := d.text(t, "#clock")
	require.Regexp(t, `^(5:00|4:\d\d)$`, clock)
	d.until(t, func() bool { return d.text(t, "#clock") < clock })
	require.Regexp(t, `^2\d\d 300$`, d.attribute(t, ".ring", "stroke-dasharray"))

	ahead.Store(int64(300 * time.Second))
	d.until(t, func() bool { return d.code(t) != first })
	ahead.Store(0) // no code lives longer for that
	require.Equal(t, terminal.State().Code.Reveal(), d.code(t))
	d.shoot(t, "code")
	d.dark(t, func() { d.shoot(t, "code-dark") })
}

func (d *display) details(t *testing.T, terminal *pairing.Terminal) {
	d.taps(t, "#details summary")
	all, address := d.text(t, "#details"), terminal.Details().Addresses[0]
	for _, what := range []string{"https://" + address, "wss://" + address, "12345678.terminal.test", terminal.Details().Fingerprint} {
		require.Contains(t, all, what)
	}
	d.until(t, func() bool { return d.is(t, `document.querySelector(".qr").naturalWidth > 0`) })
	d.fits(t)
	d.dark(t, func() { d.fits(t) })
	d.taps(t, "#details summary")
}

// pair has a POS give a wrong code, and then the one on the page.
func (d *display) pair(t *testing.T, terminal *pairing.Terminal) (*pairing.Client, *pairing.Bundle) {
	details := terminal.Details()
	client, err := pairing.ParseLink(details.Link(details.Addresses[0]))
	require.NoError(t, err)
	right, err := pairing.ParseCode(d.code(t))
	require.NoError(t, err)
	wrong, err := pairing.ParseCode(strings.Repeat("0", 8))
	require.NoError(t, err)
	_, err = client.Pair(t.Context(), pairing.Request{POSID: "Till 4", Code: wrong})
	require.ErrorIs(t, err, pairing.ErrCode)
	d.until(t, func() bool { return strings.Contains(d.text(t, "#stage"), "Wrong codes tried: 1 of 5.") })
	require.Equal(t, right.Reveal(), d.code(t))
	d.fits(t)

	bundle, err := client.Pair(t.Context(), pairing.Request{POSID: "Till 4", Code: right})
	require.NoError(t, err)
	d.waits(t, ".paired #close")
	require.Contains(t, d.text(t, "#stage"), "POS Activation Successful")
	require.Contains(t, d.text(t, "#stage"), "Till 4 is connected")
	d.shoot(t, "success")
	d.taps(t, "#close")
	d.waits(t, "#generate")
	return client, bundle
}

// connect leaves a connection open that has carried a request.
func connect(t *testing.T, client *pairing.Client, bundle *pairing.Bundle) net.Conn {
	t.Helper()
	conn, err := client.Dial(t.Context(), bundle)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://terminal/", nil)
	require.NoError(t, err)
	require.NoError(t, r.Write(conn))
	resp, err := http.ReadResponse(bufio.NewReader(conn), r)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusOK, resp.StatusCode)
	return conn
}

func (d *display) revoke(t *testing.T, terminal *pairing.Terminal) {
	require.Equal(t, "Till 4", d.text(t, "#paired .pos"))
	d.shoot(t, "list")
	d.taps(t, "#paired summary")
	d.waits(t, "#paired .danger")
	d.fits(t)
	d.dark(t, func() { d.fits(t) })
	d.taps(t, "#paired .danger")
	d.until(t, func() bool { return strings.Contains(d.text(t, "#paired"), "None.") })
	require.Empty(t, terminal.List())
	d.fits(t)
}

// detectsViolations is the twin of the test: had the page done anything that its
// policy forbids, it would have been noticed.
func (d *display) detectsViolations(t *testing.T) {
	require.Empty(t, d.complaints(t))
	require.True(t, d.is(t, `document.body.setAttribute("style", "color: red"), true`))
	d.until(t, func() bool { return len(d.complaints(t)) > 0 })
}
