// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build unix && cgo

package e2e

import (
	"cmp"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/browsertest"
)

const dashboardFile = "../../dist/grafana/hsmtls.json"

// TestDashboard has Prometheus scrape three commands that are at work, asks it every
// query of the dashboard, and takes a picture of the answers. Each query has to have one,
// and each panel over time something else than zero to show.
// What draws them is this test and not Grafana: it knows what the file uses and no more.
func TestDashboard(t *testing.T) {
	t.Parallel()
	if os.Getenv("HSMTLS_SCREENSHOTS") == "" {
		t.Skip("two minutes for a picture: make screenshots")
	}
	chromium := browsertest.Chromium(t)
	b := readBoard(t, dashboardFile)
	f := newFleet(t)
	p := startPrometheus(t, f.members())
	p.from = time.Now().Truncate(step).Add(2 * rateTime) // when the first rates are known
	f.work(t)
	p.upTo = time.Now().Truncate(step).Add(-step)
	p.requireRules(t)
	photograph(t, chromium, b.page(t, p))
}

// photograph keeps the page as it is by day and by night, if all of it can be read.
func photograph(t *testing.T, chromium string, page []byte) {
	t.Helper()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
		_, _ = w.Write(page)
	}))
	defer web.Close()
	browse := browsertest.Start(t, chromium)
	for scheme, name := range map[string]string{"light": "dashboard", "dark": "dashboard-dark"} {
		var faint string
		var said, cut []string
		require.NoError(t, chromedp.Run(browse, chromedp.EmulateViewport(1200, 900),
			emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}),
			chromedp.Navigate(web.URL), chromedp.WaitVisible("main", chromedp.ByQuery),
			chromedp.Evaluate(browsertest.Unreadable, &faint), chromedp.Evaluate(browsertest.Violations, &said), chromedp.Evaluate(cutOff, &cut)))
		require.Empty(t, faint, scheme)
		require.Empty(t, said)
		require.Empty(t, cut, "there is no room for all of it")
		browsertest.Keep(t, browse, name, func(shot *[]byte) chromedp.Action { return chromedp.FullScreenshot(shot, 100) })
	}
}

// cutOff is an expression: the panels that have more in them than is seen.
const cutOff = `[...document.querySelectorAll("section")].filter(e => e.scrollHeight > e.clientHeight || e.scrollWidth > e.clientWidth ||
	[...e.querySelectorAll(".plot")].some(p => p.clientHeight < 60)).map(e => e.innerText)`

// TestDashboardIsDrawn draws the dashboard from invented answers: nothing is in its file
// that TestDashboard could not draw.
func TestDashboardIsDrawn(t *testing.T) {
	t.Parallel()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		_, _ = fmt.Fprintf(w, `{"status": "success", "data": {"result": [{"metric": {"instance": "till-7"}, "value": [%s, "1"], "values": [[%s, "1"], [%s, "NaN"]]}]}}`,
			cmp.Or(q.Get("time"), "0"), cmp.Or(q.Get("start"), "0"), cmp.Or(q.Get("end"), "0"))
	}))
	defer web.Close()
	now := time.Now().Truncate(step)
	b := readBoard(t, dashboardFile)
	page := string(b.page(t, &prometheus{url: web.URL, web: web.Client(), from: now.Add(-time.Minute), upTo: now}))
	for _, p := range b.Panels {
		require.Contains(t, page, p.Title)
	}
	require.Contains(t, page, "till-7 ")
}

// TestDashboardMisses holds that no data, and no event, are noticed.
func TestDashboardMisses(t *testing.T) {
	t.Parallel()
	lines, table := panel{Type: "timeseries"}, panel{Type: "table"}
	answer := func(values ...float64) answered { return answered{series: []series{{Values: values}}} }
	require.Empty(t, lines.misses([]answered{answer(math.NaN(), 1), answer(0)}))
	require.Empty(t, table.misses([]answered{answer(0)}))
	require.NotEmpty(t, lines.misses([]answered{answer(0, 0)}))
	require.NotEmpty(t, lines.misses([]answered{answer(1), answer(math.NaN())}))
	require.NotEmpty(t, table.misses([]answered{{}}))
}
