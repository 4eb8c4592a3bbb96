// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hsmtls/hsmtls-go/keystore"
	"github.com/hsmtls/hsmtls-go/truststore"
)

// soon is when an end is near.
const soon = 30 * 24 * time.Hour

// roots are all that are known, whoever's they are.
func (e *exam) roots() []*x509.Certificate {
	roots := slices.Concat(e.files.Acquirer, e.files.Vendor)
	for _, a := range e.onToken {
		roots = append(roots, a.Certificate)
	}
	return roots
}

func checkChains(_ context.Context, e *exam) (found []finding) {
	if len(e.proved) == 0 {
		return []finding{{Level: levelNote, Text: "not looked at: there is no certificate that belongs to its key"}}
	}
	for _, i := range e.proved {
		found = append(found, e.examineChain(i)...)
	}
	return orFine(found, count(len(e.proved), "chain leads", "chains lead")+" to a root, in order")
}

func (e *exam) examineChain(i *keystore.Identity) []finding {
	for n, c := range i.Chain[1:] {
		if err := i.Chain[n].CheckSignatureFrom(c); err != nil {
			return []finding{{Level: levelError, Subject: i.Alias, Text: fmt.Sprintf("certificate %d is not signed by the next: %v", n+1, err), Mend: again(i.Alias)}}
		}
	}
	roots := e.roots()
	chain, whole := complete(i.Chain, roots)
	end := chain[len(chain)-1]
	switch {
	case !whole && len(roots) == 0:
		return []finding{{Level: levelNote, Subject: i.Alias,
			Text: fmt.Sprintf("whether %q is a root cannot be told: no root is named", end.Issuer), Mend: mend("doctor", "--acquirer-root", "FILE")}}
	case !whole:
		return []finding{{Level: levelWarning, Subject: i.Alias,
			Text: fmt.Sprintf("the chain ends below %q, which is neither on the token nor a root that is named", end.Issuer),
			Why:  "a peer that does not have this issuer cannot verify the certificate",
			Mend: mends(again(i.Alias), mend("doctor", "--acquirer-root", "FILE"))}}
	}
	return e.profile(i, chain)
}

// again is how a chain is written again, with its issuers.
func again(alias string) string { return mend("cert", "inject", word(alias), "CHAIN.pem", "--replace") }

// profile judges a chain as a peer with this software does. Dates are for the next
// check, and a CA is shown to nobody.
func (e *exam) profile(i *keystore.Identity, chain []*x509.Certificate) (found []finding) {
	root := chain[len(chain)-1:]
	for _, usage := range roles(i) {
		_, err := truststore.VerifyChain(root, chain, "", usage, e.now)
		var invalid x509.CertificateInvalidError
		if err == nil || errors.As(err, &invalid) && invalid.Reason == x509.Expired {
			continue
		}
		found = append(found, finding{
			Level: levelWarning, Subject: i.Alias, Text: sentence(err),
			Why: "a peer that uses hsmtls refuses it as a " + usageWord(usage), Mend: mend("cert", "renew", "--csr-out", "renewal.csr", last(i.Alias)),
		})
	}
	return found
}

// roles are what a certificate may be shown as in TLS.
func roles(i *keystore.Identity) (usages []x509.ExtKeyUsage) {
	if i.Chain[0].IsCA {
		return nil
	}
	for _, u := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		if slices.Contains(i.Chain[0].ExtKeyUsage, u) {
			usages = append(usages, u)
		}
	}
	return usages
}

func checkDates(_ context.Context, e *exam) (found []finding) {
	n := 0
	for _, i := range e.ids {
		n += len(i.Chain)
		renew := mends(mend("cert", "renew", "--csr-out", "renewal.csr", last(i.Alias)), mend("cert", "renew", "--answer", "ANSWER.pem", last(i.Alias)))
		found = append(found, e.worst(i.Alias, i.Chain, renew)...)
	}
	if e.trust != nil {
		for _, t := range e.trust.Entries() {
			n++
			found = append(found, e.entryDates(t)...)
		}
	}
	for _, root := range e.roots() {
		n++
		found = append(found, e.worst(root.Subject.String(), []*x509.Certificate{root}, "")...)
	}
	if n == 0 {
		return []finding{{Level: levelOK, Text: "there are no certificates"}}
	}
	return orFine(found, count(n, "certificate is", "certificates are")+" valid, and will be in 30 days")
}

// entryDates is about a trusted entry with what stands between it and its root.
// A POS renews its certificate by itself.
func (e *exam) entryDates(t truststore.Entry) []finding {
	chain := append([]*x509.Certificate{t.Certificate}, t.Issuers...)
	found := e.worst(t.Alias, chain[:max(1, len(chain)-1)],
		mends(mend("trust", "remove", last(t.Alias)), mend("trust", "inject", word(t.Alias), "CERT.pem")))
	if len(found) > 0 && slices.ContainsFunc((&truststore.Clients{Store: e.trust}).Clients(), t.Certificate.Equal) {
		found[0].Level, found[0].Why, found[0].Mend = levelNote, "the POS has to renew it, or to be paired again", ""
	}
	return found
}

// worst is the most pressing thing about the dates of certificates that stand or
// fall together.
func (e *exam) worst(subject string, chain []*x509.Certificate, mend string) (found []finding) {
	if len(chain) == 0 {
		return nil
	}
	first := slices.MinFunc(chain, func(a, b *x509.Certificate) int { return a.NotAfter.Compare(b.NotAfter) })
	begins := slices.MaxFunc(chain, func(a, b *x509.Certificate) int { return a.NotBefore.Compare(b.NotBefore) })
	of := func(c *x509.Certificate) string {
		if c == chain[0] {
			return "it"
		}
		return fmt.Sprintf("its issuer %q", c.Subject)
	}
	f := finding{Subject: subject, Mend: mend}
	switch left := first.NotAfter.Sub(e.now); {
	case left < 0:
		f.Level, f.Text, f.Why = levelError, fmt.Sprintf("%s has ended on %s", of(first), date(first.NotAfter)), "peers refuse it"
	case begins.NotBefore.After(e.now):
		f.Level, f.Text = levelError, fmt.Sprintf("%s is not valid before %s", of(begins), begins.NotBefore.UTC().Format(time.RFC3339))
		f.Why, f.Mend = "peers refuse it until then, unless this clock is wrong", setClock
	case left < soon:
		f.Level, f.Text = levelWarning, fmt.Sprintf("%s ends on %s, in %s", of(first), date(first.NotAfter), count(int(left.Hours()/24), "day", "days"))
		f.Why = "peers refuse it from then on"
	default:
		return nil
	}
	return []finding{f}
}
