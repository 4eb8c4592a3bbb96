// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build unix && cgo

package screen_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// The size of a terminal's display.
const width, height = 480, 800

// chromium returns the path of a browser. Without one the test is skipped, or
// fails where everything has to be there.
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

// A display is a browser that shows one page.
type display struct {
	ctx context.Context // of the browser, for all its life

	mu   sync.Mutex
	said []string // what the browser complains about
}

// watch makes the page itself note violations of its policy, wherever they are
// reported besides.
const watch = `window.violations = [];
document.addEventListener("securitypolicyviolation", e => violations.push(e.violatedDirective + " " + e.blockedURI));`

// newDisplay opens a page in a browser of its own until the test ends.
func newDisplay(t *testing.T, program, url string) *display {
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
	d := &display{ctx: ctx}
	chromedp.ListenTarget(ctx, d.hear)
	d.run(t, log.Enable(), chromedp.EmulateViewport(width, height),
		chromedp.ActionFunc(func(ctx context.Context) error {
			_, err := page.AddScriptToEvaluateOnNewDocument(watch).Do(ctx)
			return err
		}),
		chromedp.Navigate(url))
	return d
}

func (d *display) hear(event any) {
	var what string
	switch e := event.(type) {
	case *runtime.EventConsoleAPICalled:
		what = fmt.Sprintf("console: %s %v", e.Type, e.Args)
	case *runtime.EventExceptionThrown:
		what = fmt.Sprintf("exception: %v", e.ExceptionDetails)
	case *log.EventEntryAdded:
		what = fmt.Sprintf("log: %s %s", e.Entry.Text, e.Entry.URL)
	default:
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.said = append(d.said, what)
}

// complaints are violations of the page's policy, and all that was written to the
// console: the page writes nothing there.
func (d *display) complaints(t *testing.T) []string {
	t.Helper()
	var all []string
	d.run(t, chromedp.Evaluate(`window.violations`, &all))
	d.mu.Lock()
	defer d.mu.Unlock()
	return append(all, d.said...)
}

func (d *display) run(t *testing.T, actions ...chromedp.Action) {
	t.Helper()
	require.NoError(t, chromedp.Run(d.ctx, actions...))
}

// waits until there is something to see.
func (d *display) waits(t *testing.T, selector string) {
	t.Helper()
	d.run(t, chromedp.WaitVisible(selector, chromedp.ByQuery))
	d.fits(t)
}

func (d *display) taps(t *testing.T, selector string) {
	t.Helper()
	d.run(t, chromedp.Click(selector, chromedp.ByQuery))
}

func (d *display) types(t *testing.T, keys ...string) {
	t.Helper()
	for _, key := range keys {
		d.run(t, chromedp.KeyEvent(key))
	}
}

// until waits for what the browser does by and by.
func (d *display) until(t *testing.T, done func() bool) {
	t.Helper()
	require.Eventually(t, done, time.Minute, 20*time.Millisecond)
}

func (d *display) is(t *testing.T, expression string) (yes bool) {
	t.Helper()
	d.run(t, chromedp.Evaluate(expression, &yes))
	return yes
}

func (d *display) string(t *testing.T, expression string) (text string) {
	t.Helper()
	d.run(t, chromedp.Evaluate(expression, &text))
	return text
}

// text is what can be read, empty if there is nothing.
func (d *display) text(t *testing.T, selector string) string {
	t.Helper()
	return d.string(t, fmt.Sprintf(`document.querySelector(%q)?.innerText ?? ""`, selector))
}

func (d *display) attribute(t *testing.T, selector, name string) string {
	t.Helper()
	return d.string(t, fmt.Sprintf(`document.querySelector(%q).getAttribute(%q)`, selector, name))
}

func (d *display) focus(t *testing.T) string {
	t.Helper()
	return d.string(t, `document.activeElement.id`)
}

// code is the code on the page, without its gap.
func (d *display) code(t *testing.T) string {
	t.Helper()
	return strings.Join(strings.Fields(d.text(t, "#code")), "")
}

// fits holds that the page is no wider than the display, that all of it can be
// read, and that the browser has no complaint.
func (d *display) fits(t *testing.T) {
	t.Helper()
	require.True(t, d.is(t, fmt.Sprintf(`document.documentElement.scrollWidth <= %d && innerWidth === %d`, width, width)))
	require.Empty(t, d.string(t, unreadable))
	require.Empty(t, d.complaints(t))
}

// unreadable finds text whose contrast with what is behind it is less than 4.5 to 1
// (WCAG 2.1, success criterion 1.4.3).
const unreadable = `(() => {
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

// dark runs f while the operator prefers a dark screen.
func (d *display) dark(t *testing.T, f func()) {
	t.Helper()
	light := d.string(t, `getComputedStyle(document.body).backgroundColor`)
	scheme := func(name string) chromedp.Action {
		return emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}})
	}
	d.run(t, scheme("dark"))
	require.NotEqual(t, light, d.string(t, `getComputedStyle(document.body).backgroundColor`))
	f()
	d.run(t, scheme("light"))
}
