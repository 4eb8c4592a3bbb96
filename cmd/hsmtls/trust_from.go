// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/truststore"
)

// errNotAll is how inject --from ends if a file was refused.
var errNotAll = errors.New("not everything was injected")

// A fromFile is a file of inject --from and what became of it. JSON has these
// fields.
type fromFile struct {
	File    string `json:"file"`
	Alias   string `json:"alias"`
	Verdict string `json:"verdict"` // accepted, already, refused
	Reason  string `json:"reason,omitempty"`

	err error
}

// certificateNames returns the files of a folder that hold certificates by their
// names, sorted.
func certificateNames(dir string) (names []string, err error) {
	all, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, f := range all {
		if !f.IsDir() && !strings.HasPrefix(f.Name(), ".") && slices.Contains(certificateFiles, extensionOf(f.Name())) {
			names = append(names, f.Name())
		}
	}
	return names, nil
}

func extensionOf(name string) string {
	return strings.ToLower(strings.TrimPrefix(filepath.Ext(name), "."))
}

// aliasOf is the alias of a file: its name without the extension.
func aliasOf(name string) string { return strings.TrimSuffix(name, filepath.Ext(name)) }

// injectFrom injects every certificate in a folder.
func (a *app) injectFrom(ctx context.Context, dir, issuersPath string) error {
	names, err := certificateNames(dir)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return fmt.Errorf("%s: %w", dir, truststore.ErrNoCertificate)
	}
	var issuers []*x509.Certificate
	if issuersPath != "" {
		if issuers, err = a.readCertificates(issuersPath); err != nil {
			return err
		}
	}
	return a.withTrust(ctx, func(_ *hsm.Token, store *truststore.Store) error {
		r := &folderRun{app: a, dir: dir, names: names, issuers: issuers, bar: newProgress(a.stderr, len(names))}
		return r.inject(ctx, store)
	})
}

// A folderRun is one run of inject --from.
type folderRun struct {
	app     *app
	dir     string
	names   []string
	issuers []*x509.Certificate
	bar     *progress

	waiting                    []fromFile // in the order of the files
	accepted, already, refused int
}

func (r *folderRun) inject(ctx context.Context, store *truststore.Store) error {
	err := store.InjectAll(ctx, r.candidates, r.decided)
	r.unreadable()
	r.bar.clear()
	left := len(r.names) - r.accepted - r.already - r.refused
	r.app.note("%d accepted, %d already there, %d refused, %d not looked at", r.accepted, r.already, r.refused, left)
	switch {
	case err != nil:
		return err
	case r.refused > 0:
		return fmt.Errorf("%w: %s", errNotAll, count(r.refused, "file was refused", "files were refused"))
	}
	return nil
}

// candidates reads one file after the other. One that cannot be read keeps its
// place among those that can.
func (r *folderRun) candidates(yield func(truststore.Candidate) bool) {
	for _, name := range r.names {
		chain, err := r.app.readCertificates(filepath.Join(r.dir, name))
		r.waiting = append(r.waiting, fromFile{File: name, Alias: aliasOf(name), err: err})
		if err == nil && !yield(truststore.Candidate{Alias: aliasOf(name), Chain: r.chain(chain)}) {
			return
		}
	}
}

// chain adds those of the common issuers that stand above a certificate.
func (r *folderRun) chain(own []*x509.Certificate) []*x509.Certificate {
	for i := 0; i < len(own); i++ {
		for _, c := range r.issuers {
			if string(c.RawSubject) == string(own[i].RawIssuer) && !slices.ContainsFunc(own, c.Equal) {
				own = append(own, c)
			}
		}
	}
	return own
}

// decided is told of each candidate in its turn.
func (r *folderRun) decided(v truststore.Verdict) {
	r.unreadable()
	f := r.waiting[0]
	r.waiting = r.waiting[1:]
	f.err = v.Err
	r.say(f, v.Already)
}

// unreadable reports the files at the head of the queue that gave no candidate.
func (r *folderRun) unreadable() {
	for len(r.waiting) > 0 && r.waiting[0].err != nil {
		r.say(r.waiting[0], false)
		r.waiting = r.waiting[1:]
	}
}

func (r *folderRun) say(f fromFile, already bool) {
	switch {
	case f.err != nil:
		f.Verdict, f.Reason = "refused", sentence(f.err)
		r.refused++
	case already:
		f.Verdict = "already"
		r.already++
	default:
		f.Verdict = "accepted"
		r.accepted++
	}
	r.bar.step(r.accepted+r.already+r.refused, func() { r.print(f) }, f.err != nil)
}

func (r *folderRun) print(f fromFile) {
	switch {
	case r.app.globals.json:
		_ = r.app.showLine(f) // nobody to tell
	case f.Reason != "":
		fmt.Fprintf(r.app.stdout, "%s %s: %s\n", f.Verdict, cell(f.File), f.Reason)
	default:
		fmt.Fprintf(r.app.stdout, "%s %s as %s\n", f.Verdict, cell(f.File), cell(f.Alias))
	}
}

// note prints what is not the result, and no warning.
func (a *app) note(format string, args ...any) {
	fmt.Fprintf(a.stderr, "hsmtls: %s\n", clean(fmt.Sprintf(format, args...)))
}

// A progress is a bar on a terminal, and nothing elsewhere.
type progress struct {
	w     io.Writer
	total int
	on    bool
}

func newProgress(w io.Writer, total int) *progress {
	return &progress{w: w, total: total, on: isTerminal(w)}
}

const barWidth = 40

// step shows how far it is. With a bar, only what is important is printed.
func (p *progress) step(done int, print func(), important bool) {
	if !p.on || important {
		p.clear()
		print()
	}
	if p.on {
		full := done * barWidth / p.total
		fmt.Fprintf(p.w, "\r[%s%s] %d of %d", strings.Repeat("#", full), strings.Repeat("-", barWidth-full), done, p.total)
	}
}

// clear takes the bar away.
func (p *progress) clear() {
	if p.on {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
