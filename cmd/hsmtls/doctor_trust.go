// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/hsmtls/hsmtls-go/keystore"
	"github.com/hsmtls/hsmtls-go/truststore"
)

func checkTrust(_ context.Context, e *exam) (found []finding) {
	switch {
	case e.filesErr != nil:
		return []finding{{
			Level: levelWarning, Text: sentence(e.filesErr), Why: "without a root no peer is trusted, and no entry can be verified",
			Mend: mends(mend("doctor", "--acquirer-root", "FILE"), mend("doctor", "--token-anchors")),
		}}
	case e.trustErr != nil:
		f := finding{Level: levelError, Text: sentence(e.trustErr), Why: "no peer is trusted", Mend: mend("doctor", "--acquirer-root", "FILE")}
		if errors.Is(e.trustErr, truststore.ErrNoAnchors) {
			f.Mend = mends(f.Mend, mend("anchor", "add", "ROOT.pem", "--kind", "acquirer", "--so-pin-file", "SO-PIN-FILE"))
		}
		return []finding{f}
	}
	expired := (&truststore.Clients{Store: e.trust}).Expired()
	for _, r := range e.trust.Rejected() {
		switch {
		case errors.Is(r.Err, truststore.ErrUnofficial): // for the next check
		case r.Certificate != nil && slices.ContainsFunc(expired, r.Certificate.Equal):
			found = append(found, finding{Level: levelNote, Subject: r.Label, Text: "the certificate of a paired POS has ended: " + subjectOrNone(r.Certificate),
				Why: "it is trusted for nothing, and takes room", Mend: mend("pairing", "prune")})
		default:
			found = append(found, e.notTrusted(r))
		}
	}
	entries := e.trust.Entries()
	for _, t := range entries {
		if !t.Private {
			found = append(found, finding{Level: levelNote, Subject: t.Alias, Text: "the entry can be removed without a PIN",
				Why: "the token keeps certificates as public objects; whoever removes it cuts a connection, and gains no trust"})
		}
	}
	if len(entries) == 0 {
		found = append(found, finding{Level: levelNote, Text: "there is no trusted entry", Why: "every peer is refused", Mend: mend("trust", "inject", "ALIAS", "CERT.pem")})
	}
	return orFine(found, count(len(entries), "trusted entry", "trusted entries")+", and nothing that claims to be one and is not")
}

// notTrusted is about an object that is not what it claims to be. It is trusted
// for nothing.
func (e *exam) notTrusted(r truststore.Rejected) finding {
	f := finding{
		Level: levelWarning, Subject: cmp.Or(r.Label, "id "+hex.EncodeToString(r.ID)), Text: sentence(r.Err),
		Mend: mends(mend("trust", "remove", last(r.Label)), mend("trust", "inject", word(cmp.Or(r.Label, "ALIAS")), "CERT.pem")),
	}
	var revoked *truststore.RevokedError
	switch {
	case errors.As(r.Err, &revoked):
		f.Why, f.Mend = "it is trusted for nothing, as its issuer or you have decided", mend("trust", "remove", last(r.Label))
	case errors.Is(r.Err, truststore.ErrForeign):
		f.Why = "it is trusted for nothing here, but other programs may trust it; anybody can have put it there"
		f.Mend = mend("cert", "delete", last(r.Label))
	case r.Certificate == nil && len(r.ID) == 0:
		f.Why, f.Mend = "a CRL or a record of the deny-list that proves nothing; what it would revoke is not revoked", mend("crl", "inject", "FILE")
	default:
		f.Why = "it is an entry that is trusted for nothing"
	}
	if r.Label == "" && r.Certificate != nil {
		f.Mend = e.discard("--id", hex.EncodeToString(r.ID))
	}
	return f
}

func checkAnchors(_ context.Context, e *exam) (found []finding) {
	if e.anchorsErr != nil {
		return []finding{{Level: levelError, Text: sentence(e.anchorsErr)}}
	}
	there := map[[32]byte]bool{}
	for _, a := range e.onToken {
		there[a.Fingerprint()] = true
	}
	missing := e.expected
	if e.trust != nil {
		missing = append(missing[:len(missing):len(missing)], e.trust.MissingAnchors()...)
	}
	for _, m := range missing {
		if there[m] {
			continue
		}
		there[m] = true // is said once
		found = append(found, finding{
			Level: levelError, Subject: hex.EncodeToString(m[:]), Text: "this root is not on the token",
			Why:  "somebody has removed it; what only it has vouched for is not trusted",
			Mend: mend("anchor", "add", "ROOT.pem", "--kind", "KIND", "--so-pin-file", "SO-PIN-FILE"),
		})
	}
	for _, r := range e.unofficial {
		found = append(found, finding{
			Level: levelWarning, Subject: cmp.Or(r.Label, "id "+hex.EncodeToString(r.ID)), Text: sentence(r.Err),
			Why: "it vouches for nothing; somebody without the SO PIN has put it there", Mend: e.discard("--id", hex.EncodeToString(r.ID)),
		})
	}
	if len(e.onToken) > 0 && !e.app.globals.tokenAnchors {
		found = append(found, finding{Level: levelNote, Text: count(len(e.onToken), "root", "roots") + " on the token not in use", Mend: "export HSMTLS_TOKEN_ANCHORS=true"})
	}
	if len(e.onToken) == 0 {
		return orFine(found, "there are none on the token, and none have to be")
	}
	return orFine(found, count(len(e.onToken), "root", "roots")+" on the token, written by the security officer")
}

func checkCRLs(_ context.Context, e *exam) (found []finding) {
	level, why := levelWarning, "what its issuer has revoked since is still trusted"
	if e.app.globals.crlPolicy != "warn" {
		level, why = levelError, "certificates of the issuer are refused, as --crl-policy "+e.app.globals.crlPolicy+" says"
	}
	all := e.trust.CRLs()
	for _, c := range all {
		if c.Err != nil {
			found = append(found, finding{Level: level, Subject: c.Issuer, Text: sentence(c.Err), Why: why, Mend: mend("crl", "inject", "FILE")})
		}
	}
	if len(all) == 0 {
		return []finding{{Level: levelOK, Text: "there are none, and none have to be"}}
	}
	return orFine(found, count(len(all), "CRL", "CRLs")+", none out of date")
}

func checkRevoked(_ context.Context, e *exam) (found []finding) {
	for _, d := range e.trust.Denied() {
		if d.Err != nil {
			found = append(found, finding{Level: levelError, Subject: hex.EncodeToString(d.Fingerprint[:]), Text: sentence(d.Err),
				Why: "somebody has removed a denial", Mend: mend("trust", "revoke", hex.EncodeToString(d.Fingerprint[:]))})
		}
	}
	for _, i := range e.proved {
		found = append(found, e.revoked(i)...)
	}
	return orFine(found, "no certificate of our own is; "+count(len(e.trust.Denied()), "certificate is", "certificates are")+" on the deny-list")
}

// revoked asks the trust store about a certificate of our own as if a peer had
// sent it. That it is no trusted entry is as it should be.
func (e *exam) revoked(i *keystore.Identity) []finding {
	for _, usage := range roles(i) {
		_, err := e.trust.Verify(i.Chain, "", usage, e.now)
		var r *truststore.RevokedError
		if !errors.As(err, &r) {
			continue
		}
		f := finding{
			Level: levelError, Subject: i.Alias, Text: sentence(err), Why: "peers that know it refuse the certificate",
			Mend: mends(mend("key", "generate", "NEW"), mend("csr", "NEW", "--subject", "CN=NAME", "--out", "request.csr")),
		}
		if r.By == nil {
			f.Mend = mend("trust", "unrevoke", fingerprint(r.Certificate))
		}
		return []finding{f}
	}
	return nil
}

func fingerprint(c *x509.Certificate) string { return describe(c).Fingerprint }

func checkLeftovers(ctx context.Context, e *exam) (found []finding) {
	add := func(label string, what string) {
		found = append(found, finding{
			Level: levelNote, Subject: label, Text: what + ", left by a write that was interrupted or is under way",
			Why: "it is harmless, and takes room", Mend: mend("clean"),
		})
	}
	fail := func(err error) []finding { return append(found, finding{Level: levelError, Text: sentence(err)}) }
	own, err := e.keys.Leftovers(ctx)
	if err != nil {
		return fail(err)
	}
	for _, l := range own {
		add(l.Label, l.Kind.String())
	}
	if e.trust == nil {
		return orFine(found, "none of our own; those of the trust store are not looked at")
	}
	theirs, err := e.trust.Leftovers(ctx)
	if err != nil {
		return fail(err)
	}
	for _, l := range theirs {
		add(l.Label, fmt.Sprintf("issuer %q of no entry", subjectOrNone(l.Certificate)))
	}
	return orFine(found, "none")
}

func subjectOrNone(c *x509.Certificate) string {
	if c == nil {
		return ""
	}
	return c.Subject.String()
}
