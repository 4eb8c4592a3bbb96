// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build unix && cgo

package screen_test

import (
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/browsertest"
	"github.com/hsmtls/hsmtls-go/pairing"
)

// TestBrowserWithoutScript is an operator whose browser runs no scripts: the forms
// alone show a code and close it.
func TestBrowserWithoutScript(t *testing.T) {
	t.Parallel()
	program := browsertest.Chromium(t)
	terminal := newTokenTerminal(t, time.Now)
	base := open(t, terminal).base
	d := newDisplay(t, program, base)
	d.run(t, emulation.SetScriptExecutionDisabled(true), chromedp.Navigate(base))
	phase := func(want pairing.Phase) func() bool {
		return func() bool { return terminal.State().Phase == want }
	}
	d.taps(t, "#generate")
	d.until(t, phase(pairing.PhaseShowing))
	d.waits(t, "#code")
	require.Equal(t, terminal.State().Code.Reveal(), d.code(t))
	d.taps(t, "#close")
	d.until(t, phase(pairing.PhaseIdle))
	d.waits(t, "#generate")
}
