// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

// Package browsertest lets tests look at a page with the Chromium that is installed.
package browsertest

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// noteViolations makes a page itself note violations of its policy, wherever they are
// reported besides.
const noteViolations = `window.violations = [];
document.addEventListener("securitypolicyviolation", e => violations.push(e.violatedDirective + " " + e.blockedURI));`

// Violations is an expression: the violations of its policy that a page has noted, as
// a list of strings.
const Violations = `window.violations`

// Unreadable is an expression: the first text whose contrast with what is behind it is
// less than 4.5 to 1 (WCAG 2.1, success criterion 1.4.3), or the empty string.
const Unreadable = `(() => {
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

// Chromium returns the path of a browser. Without one the test is skipped, or fails
// where everything has to be there.
func Chromium(t testing.TB) string {
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

// Start starts the browser at that path. It runs until the test ends, for ten
// minutes at most, and its pages note their violations. A cold start on a busy machine
// takes longer than chromedp would wait. The result is the context for package chromedp.
func Start(t testing.TB, program string) context.Context {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program),
		chromedp.NoSandbox, // the page is ours
		chromedp.WSURLReadTimeout(2*time.Minute))
	alloc, stop := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, _ := chromedp.NewContext(alloc)
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	t.Cleanup(func() {
		_ = chromedp.Cancel(ctx)
		cancel()
		stop()
		chromedp.FromContext(alloc).Allocator.Wait()
	})
	note := func(ctx context.Context) error {
		_, err := page.AddScriptToEvaluateOnNewDocument(noteViolations).Do(ctx)
		return err
	}
	if err := chromedp.Run(ctx, chromedp.ActionFunc(note)); err != nil {
		t.Fatal(err)
	}
	return ctx
}
