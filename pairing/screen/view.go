// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package screen

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"rsc.io/qr"

	"github.com/hsmtls/hsmtls-go/pairing"
)

// codeLife is what the ring around a code stands for.
const codeLife = 300 * time.Second

var pages = template.Must(template.New("").ParseFS(assets, "assets/*.html"))

// A view is what the templates see.
type view struct {
	Title, Token, Phase string
	Code                []string // in two groups; nil unless one is shown
	Spoken              string   // the code for a screen reader
	Left                int      // seconds
	Clock               string   // the same as minutes and seconds
	Wrong, Burnt        int
	POSID, Problem      string
	Addresses           []address
	Name, Fingerprint   string
	POS                 []pos
}

type address struct {
	HTTPS, WSS, Port, Raw string
}

type pos struct {
	ID, Serial, Expires string
}

func (p *Page) view() view {
	s, d := p.Terminal.State(), p.Terminal.Details()
	v := view{
		Title: p.Title, Token: p.token, Phase: s.Phase.String(),
		Wrong: s.Wrong, Burnt: s.Burnt, POSID: s.POSID,
		Name: d.Name, Fingerprint: d.Fingerprint,
	}
	if v.Title == "" {
		v.Title = "Payment terminal"
	}
	if code := s.Code.Reveal(); len(code) == 8 {
		v.Code = []string{code[:4], code[4:]}
		v.Spoken = strings.Join(strings.Split(code, ""), " ")
		v.Left = int(min(max(s.Left, 0), codeLife).Round(time.Second) / time.Second)
		v.Clock = fmt.Sprintf("%d:%02d", v.Left/60, v.Left%60)
	}
	for _, a := range d.Addresses {
		_, port, _ := net.SplitHostPort(a) // empty if there is none
		v.Addresses = append(v.Addresses, address{d.HTTPS(a), d.WSS(a), port, a})
	}
	for _, one := range p.Terminal.List() {
		v.POS = append(v.POS, pos{one.ID, one.Certificate.SerialNumber.Text(16), one.Expires().UTC().Format(time.DateOnly)})
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.problem != nil && s.Phase == pairing.PhaseIdle {
		v.Problem = p.problem.Error()
	}
	return v
}

func (p *Page) page(w http.ResponseWriter, _ *http.Request)  { p.render(w, "page.html") }
func (p *Page) panel(w http.ResponseWriter, _ *http.Request) { p.render(w, "panel.html") }

func (p *Page) render(w http.ResponseWriter, name string) {
	var text bytes.Buffer
	if err := pages.ExecuteTemplate(&text, name, p.view()); err != nil {
		http.Error(w, "the page cannot be shown", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = text.WriteTo(w) // the browser may be gone
}

// qr draws the link of one of the terminal's addresses. Others are not found:
// the page is no drawing service.
func (p *Page) qr(w http.ResponseWriter, r *http.Request) {
	a := r.PathValue("address")
	d := p.Terminal.Details()
	if !slices.Contains(d.Addresses, a) {
		http.NotFound(w, r)
		return
	}
	code, err := qr.Encode(d.Link(a), qr.M)
	if err != nil {
		http.Error(w, "the address cannot be drawn", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "image/png")
	_, _ = w.Write(code.PNG())
}

// events tells the script what happens, as server-sent events. They hold no
// code: the script fetches the panel.
func (p *Page) events(w http.ResponseWriter, r *http.Request) {
	if !p.follow(1) {
		http.Error(w, "too many pages are open", http.StatusServiceUnavailable)
		return
	}
	defer p.follow(-1)
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Time{}) // the server's is for requests; a recorder has none
	w.Header().Set("Content-Type", "text/event-stream")
	for e := range p.Terminal.Events(r.Context()) {
		data, err := json.Marshal(map[string]string{"kind": e.Kind.String(), "phase": e.State.Phase.String(), "posId": e.POSID})
		if err != nil {
			return
		}
		if _, err := fmt.Fprintf(w, "data: %s\n\n", data); err != nil {
			return
		}
		if control.Flush() != nil {
			return
		}
	}
}

// follow counts event streams.
func (p *Page) follow(n int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.followers+n > maxFollowers {
		return false
	}
	p.followers += n
	return true
}
