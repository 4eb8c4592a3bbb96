// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build unix && cgo

package e2e

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	step     = time.Second // between two scrapes, and between two values of a series
	rateTime = 4 * step    // what Grafana takes for $__rate_interval then
)

// A prometheus is a running Prometheus, which scrapes the fleet.
type prometheus struct {
	url        string
	web        *http.Client
	from, upTo time.Time // what is asked for
}

// A series is one of the answer to a query: a value for each step of it, NaN where there
// is none. An instant query has one step.
type series struct {
	Labels map[string]string
	Values []float64
}

// startPrometheus also gives it the alert rules, without which it does not start if they
// have a mistake.
func startPrometheus(t *testing.T, members []*member) *prometheus {
	t.Helper()
	dir, out := t.TempDir(), new(output)
	rules, err := filepath.Abs("../../dist/prometheus/hsmtls.rules.yml")
	require.NoError(t, err)
	config := fmt.Sprintf("global: {scrape_interval: %v, scrape_timeout: %v, evaluation_interval: %v}\nrule_files: [%q]\n"+
		"scrape_configs:\n- job_name: hsmtls\n  static_configs:\n", step, step, step, rules)
	for _, m := range members {
		config += fmt.Sprintf("  - {targets: [%q], labels: {instance: %q}}\n", m.admin, m.name)
	}
	file := filepath.Join(dir, "prometheus.yml")
	require.NoError(t, os.WriteFile(file, []byte(config), 0o600))
	launch(t, exec.Command(program(t, "prometheus"), "--config.file="+file, "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+loopback+":0"), out)
	p := &prometheus{url: "http://" + out.awaits(t, `msg="Listening on".* address=(\S+)`), web: &http.Client{Timeout: time.Minute}}
	t.Cleanup(p.web.CloseIdleConnections)
	out.awaits(t, `(Server is ready to receive web requests)`)
	return p
}

// An answer is what Prometheus says to a query.
type answer struct {
	Status, Error string
	Data          struct {
		Result []struct {
			Metric map[string]string
			Value  sample
			Values []sample
		}
	}
}

type sample struct{ at, value float64 }

// UnmarshalJSON reads a time and the text of a number.
func (s *sample) UnmarshalJSON(text []byte) (err error) {
	var value string
	if err = json.Unmarshal(text, &[]any{&s.at, &value}); err == nil {
		s.value, err = strconv.ParseFloat(value, 64)
	}
	return err
}

// look asks one query of the dashboard.
func (p *prometheus) look(t *testing.T, q query) []series {
	t.Helper()
	if q.Instant {
		return p.now(t, q.Expr)
	}
	a := p.ask(t, "query_range", url.Values{
		"query": {q.Expr}, "start": {seconds(p.from)}, "end": {seconds(p.upTo)}, "step": {step.String()},
	})
	var all []series
	for _, r := range a.Data.Result {
		s := series{Labels: r.Metric, Values: make([]float64, p.steps())}
		for i := range s.Values {
			s.Values[i] = math.NaN()
		}
		for _, v := range r.Values {
			s.Values[int(math.Round((v.at-float64(p.from.Unix()))/step.Seconds()))] = v.value
		}
		all = append(all, s)
	}
	return all
}

// now asks for the values at the end.
func (p *prometheus) now(t *testing.T, expr string) (all []series) {
	t.Helper()
	a := p.ask(t, "query", url.Values{"query": {expr}, "time": {seconds(p.upTo)}})
	for _, r := range a.Data.Result {
		all = append(all, series{r.Metric, []float64{r.Value.value}})
	}
	return all
}

func (p *prometheus) steps() int { return int(p.upTo.Sub(p.from)/step) + 1 }

func seconds(at time.Time) string { return strconv.FormatInt(at.Unix(), 10) }

func (p *prometheus) ask(t *testing.T, what string, q url.Values) (a answer) {
	t.Helper()
	p.get(t, what+"?"+q.Encode(), &a)
	require.Equal(t, "success", a.Status, "%s: %s", q.Get("query"), a.Error)
	return a
}

func (p *prometheus) get(t *testing.T, path string, v any) {
	t.Helper()
	reply, err := p.web.Get(p.url + "/api/v1/" + path)
	require.NoError(t, err)
	defer reply.Body.Close()
	require.NoError(t, json.NewDecoder(reply.Body).Decode(v))
}

// requireRules asserts that every alert rule could be evaluated.
func (p *prometheus) requireRules(t *testing.T) {
	t.Helper()
	var a struct {
		Data struct {
			Groups []struct {
				Rules []struct{ Name, Health, LastError string }
			}
		}
	}
	p.get(t, "rules", &a)
	require.NotEmpty(t, a.Data.Groups)
	for _, r := range a.Data.Groups[0].Rules {
		require.Equal(t, "ok", r.Health, "%s: %s", r.Name, r.LastError)
	}
}

// legend is the name of a series, as the query wants it.
func (s series) legend(format string) string {
	for label, value := range s.Labels {
		format = strings.ReplaceAll(format, "{{"+label+"}}", value)
	}
	return format
}
