// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build linux && cgo

package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/browsertest"
	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

// TestAdminBrowser looks at the status page as a person does: on a wide screen and on a
// small one, by day and by night.
func TestAdminBrowser(t *testing.T) {
	t.Parallel()
	browse := browsertest.Start(t, browsertest.Chromium(t))
	now := time.Now()
	o := newOperated(t, now.Add(-300*24*time.Hour), now.Add(65*24*time.Hour+time.Hour))
	o.busy(t)

	var said []string
	run := func(actions ...chromedp.Action) {
		t.Helper()
		require.NoError(t, chromedp.Run(browse, actions...))
	}
	for _, width := range []int64{1100, 420} {
		for _, scheme := range []string{"light", "dark"} {
			run(chromedp.EmulateViewport(width, 900),
				emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}),
				chromedp.Navigate(o.base), chromedp.WaitVisible(".banner.good", chromedp.ByQuery))
			var fits bool
			var faint string
			run(chromedp.Evaluate(fmt.Sprintf("document.documentElement.scrollWidth <= %d", width), &fits),
				chromedp.Evaluate(browsertest.Unreadable, &faint), chromedp.Evaluate(browsertest.Violations, &said))
			require.True(t, fits, "%d wide", width)
			require.Empty(t, faint, scheme)
			require.Empty(t, said, "the page keeps to its policy")
			if width > 1000 {
				name := map[string]string{"light": "admin-status", "dark": "admin-status-dark"}[scheme]
				browsertest.Keep(t, browse, name, func(shot *[]byte) chromedp.Action { return chromedp.FullScreenshot(shot, 100) })
			}
		}
	}
	var noted bool
	run(chromedp.Evaluate(`document.body.setAttribute("style", "color: red"), true`, &noted))
	require.Eventually(t, func() bool {
		run(chromedp.Evaluate(browsertest.Violations, &said))
		return len(said) > 0
	}, time.Minute, 20*time.Millisecond, "a violation would have been seen")
}

// busy has something to show: clients that come and come again, some who may not, an
// entry that ends soon and one that is denied.
func (o *operated) busy(t *testing.T) {
	t.Helper()
	now := time.Now()
	till := o.root.Client("till-7.example")
	for alias, cert := range map[string]*x509.Certificate{
		"till-7": till.Leaf, "till-8": testCertificate(o.root, "till-8.example", now.Add(12*24*time.Hour+time.Hour)),
		"till-9": testCertificate(o.root, "till-9.example", now.Add(400*24*time.Hour)),
	} {
		_, err := o.trust.Inject(t.Context(), alias, cert)
		require.NoError(t, err)
	}
	lost := testCertificate(o.root, "till-3.example", now.Add(200*24*time.Hour))
	_, err := o.trust.Inject(t.Context(), "till-3", lost)
	require.NoError(t, err)
	require.NoError(t, o.trust.Deny(t.Context(), lost, "lost"))
	for range 8 {
		o.sessions = tls.NewLRUClientSessionCache(1)
		for range 5 {
			_ = o.dial(t, till) // the answer is that there is none
		}
	}
	o.sessions = nil
	require.Error(t, o.dial(t, o.root.Client("till-4.example")))
	require.Error(t, o.dial(t, testpki.NewRoot("Another root").Client("till-5.example")))
	o.waits(t, "/metrics", `hsmtls_handshakes_total{outcome="completed",reason="none",role="server"} 40`)
	o.waits(t, "/metrics", `hsmtls_handshakes_total{outcome="refused",reason="not_trusted",role="server"} 1`)
}
