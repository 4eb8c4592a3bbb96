// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build unix && cgo

package screen_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/browsertest"
)

// The size of a terminal's display.
const width, height = 480, 800

// A display is a browser that shows one page.
type display struct {
	ctx context.Context // of the browser, for all its life

	mu   sync.Mutex
	said []string // what the browser complains about
}

// newDisplay opens a page in a browser of its own until the test ends.
func newDisplay(t *testing.T, program, url string) *display {
	t.Helper()
	d := &display{ctx: browsertest.Start(t, program)}
	chromedp.ListenTarget(d.ctx, d.hear)
	d.run(t, log.Enable(), chromedp.EmulateViewport(width, height), chromedp.Navigate(url))
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
	d.run(t, chromedp.Evaluate(browsertest.Violations, &all))
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
	require.Empty(t, d.string(t, browsertest.Unreadable))
	require.Empty(t, d.complaints(t))
}

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

// shoot looks at what is shown, and keeps it for the documentation.
func (d *display) shoot(t *testing.T, name string) {
	t.Helper()
	d.fits(t)
	browsertest.Keep(t, d.ctx, "screen-"+name, func(shot *[]byte) chromedp.Action { return chromedp.CaptureScreenshot(shot) })
}
