// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build linux && cgo

package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

// TestAdminBrowser looks at the status page as a person does: on a wide screen and on a
// small one, by day and by night.
func TestAdminBrowser(t *testing.T) {
	t.Parallel()
	browse := newBrowser(t, chromium(t))
	now := time.Now()
	o := newOperated(t, now.Add(-300*24*time.Hour), now.Add(65*24*time.Hour+time.Hour))
	o.busy(t)

	var said []string
	run := func(actions ...chromedp.Action) {
		t.Helper()
		require.NoError(t, chromedp.Run(browse, actions...))
	}
	run(chromedp.ActionFunc(func(ctx context.Context) error {
		_, err := page.AddScriptToEvaluateOnNewDocument(noteViolations).Do(ctx)
		return err
	}))
	for _, width := range []int64{1100, 420} {
		for _, scheme := range []string{"light", "dark"} {
			run(chromedp.EmulateViewport(width, 900),
				emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}),
				chromedp.Navigate(o.base), chromedp.WaitVisible(".banner.good", chromedp.ByQuery))
			var fits bool
			var faint string
			run(chromedp.Evaluate(fmt.Sprintf("document.documentElement.scrollWidth <= %d", width), &fits),
				chromedp.Evaluate(faintText, &faint), chromedp.Evaluate("violations", &said))
			require.True(t, fits, "%d wide", width)
			require.Empty(t, faint, scheme)
			require.Empty(t, said, "the page keeps to its policy")
			if width > 1000 {
				shoot(t, run, map[string]string{"light": "admin-status", "dark": "admin-status-dark"}[scheme])
			}
		}
	}
	var noted bool
	run(chromedp.Evaluate(`document.body.setAttribute("style", "color: red"), true`, &noted))
	require.Eventually(t, func() bool {
		run(chromedp.Evaluate("violations", &said))
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

// noteViolations is a script that remembers violations of the page's policy.
const noteViolations = `window.violations = [];
document.addEventListener("securitypolicyviolation", e => violations.push(e.violatedDirective + " " + e.blockedURI));`

// faintText finds text whose contrast with what is behind it is less than 4.5 to 1
// (WCAG 2.1, success criterion 1.4.3).
const faintText = `(() => {
	const parse = c => c.match(/[\d.]+/g).map(Number);
	const luminance = c => {
		const [r, g, b] = c.slice(0, 3).map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
		return 0.2126 * r + 0.7152 * g + 0.0722 * b;
	};
	const behind = e => {
		for (; e; e = e.parentElement) {
			const c = parse(getComputedStyle(e).backgroundColor);
			if (c.length < 4 || c[3] > 0) return c;
		}
		return [255, 255, 255];
	};
	for (const e of document.body.querySelectorAll("*")) {
		if (![...e.childNodes].some(n => n.nodeType === Node.TEXT_NODE && n.data.trim())) continue;
		const [x, y] = [luminance(parse(getComputedStyle(e).color)), luminance(behind(e))];
		if ((Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05) < 4.5) return e.outerHTML;
	}
	return "";
})()`

// shoot keeps a picture for the documentation, with $HSMTLS_SCREENSHOTS.
func shoot(t *testing.T, run func(...chromedp.Action), name string) {
	t.Helper()
	if os.Getenv("HSMTLS_SCREENSHOTS") == "" {
		return
	}
	var shot []byte
	run(chromedp.FullScreenshot(&shot, 100))
	require.NoError(t, os.WriteFile(filepath.Join("..", "..", "docs", "images", name+".png"), smaller(t, shot), 0o644))
}

// smaller makes a PNG of few colours of one of many.
func smaller(t *testing.T, shot []byte) []byte {
	t.Helper()
	from, err := png.Decode(bytes.NewReader(shot))
	require.NoError(t, err)
	count := make(map[color.Color]int)
	for y := range from.Bounds().Dy() {
		for x := range from.Bounds().Dx() {
			count[from.At(x, y)]++
		}
	}
	often := slices.SortedFunc(maps.Keys(count), func(a, b color.Color) int { return cmp.Compare(count[b], count[a]) })
	to := image.NewPaletted(from.Bounds(), often[:min(len(often), 256)])
	draw.Draw(to, to.Bounds(), from, image.Point{}, draw.Src)
	var out bytes.Buffer
	require.NoError(t, (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&out, to))
	return out.Bytes()
}

// chromium returns the path of a browser. Without one the test is skipped, or fails
// where everything has to be there.
func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	for _, variable := range os.Environ() {
		if strings.HasPrefix(variable, "CI=") || strings.HasPrefix(variable, "HSMTLS_REQUIRE_") {
			t.Fatalf("chromium is not installed, and $%s", variable)
		}
	}
	t.Skip("NOT TESTED with a browser: chromium is not installed")
	return ""
}

// newBrowser is a browser until the test ends.
func newBrowser(t *testing.T, program string) context.Context {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program), chromedp.NoSandbox) // the page is ours
	alloc, stop := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, _ := chromedp.NewContext(alloc)
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	t.Cleanup(func() {
		_ = chromedp.Cancel(ctx)
		cancel()
		stop()
		chromedp.FromContext(alloc).Allocator.Wait()
	})
	return ctx
}
