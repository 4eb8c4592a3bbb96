// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"context"
	"errors"
	"time"

	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/keystore"
	"github.com/hsmtls/hsmtls-go/truststore"
)

// A need is what a check cannot do without.
type need int

const (
	needNothing need = iota
	needModule       // that answers
	needToken        // that is open
	needKeys         // that could be listed
	needTrust        // a trust store that could be opened
)

// A check is one thing that doctor looks at.
type check struct {
	name  string
	about string // for the help
	needs need
	run   func(context.Context, *exam) []finding
}

// checks are made in this order.
var checks = []check{
	{"module", "the PKCS#11 library loads and answers, and only its owner can replace it", needNothing, checkModule},
	{"token", "there is exactly one that fits, and it is initialised", needModule, checkToken},
	{"pin", "the user PIN is right, not locked, and nobody has tried wrong ones", needModule, checkPIN},
	{"keys", "private keys are made inside, sign and do nothing else, and can never leave", needKeys, checkKeys},
	{"pairing", "certificates and keys belong together, proved by a test signature", needKeys, checkPairing},
	{"chains", "certificates lead to a root, in order, and keep to the profile", needKeys, checkChains},
	{"dates", "nothing has ended, ends within 30 days, or has not begun", needKeys, checkDates},
	{"trust", "trusted entries are good, and nothing else lies on the token", needToken, checkTrust},
	{"anchors", "the roots on the token are those that should be there", needToken, checkAnchors},
	{"crls", "CRLs are there and not out of date", needTrust, checkCRLs},
	{"revoked", "no certificate of our own is on a CRL or on the deny-list", needTrust, checkRevoked},
	{"leftovers", "no interrupted write has left anything on the token", needToken, checkLeftovers},
	{"tls", "each certificate makes a handshake in each of its roles, over loopback", needKeys, checkTLS},
	{"godebug", "no GODEBUG setting weakens TLS", needNothing, checkGODEBUG},
	{"clock", "the clock is not before the program, the certificates, or the files", needNothing, checkClock},
	{"space", "the token has room for more, if it says how much", needToken, checkSpace},
}

// An exam is what the checks know. Errors are for the check they belong to.
type exam struct {
	app      *app
	now      time.Time
	cfg      hsm.Config
	expected [][32]byte // anchors that have to be on the token

	before  []hsm.Info // the tokens as they were before the login
	info    hsm.Info   // the token
	tok     *hsm.Token // nil if it is not open
	openErr error

	keys     *keystore.Store
	keyInfos []keystore.KeyInfo
	ids      []keystore.IdentityInfo
	keysErr  error
	proved   []*keystore.Identity // by their test signatures

	files      truststore.Anchors
	filesErr   error
	onToken    []truststore.TokenAnchor
	unofficial []truststore.Rejected
	anchorsErr error
	trust      *truststore.Store // nil if it could not be opened
	trustErr   error
}

// skipped is the finding of a check that cannot be made, or nil.
func (e *exam) skipped(n need) []finding {
	reason := ""
	switch {
	case n >= needModule && e.before == nil:
		reason = "the module does not answer"
	case n >= needToken && e.tok == nil:
		reason = "the token is not open"
	case n == needKeys && e.keysErr != nil:
		return []finding{{Level: levelError, Text: "the token does not list its keys and certificates: " + sentence(e.keysErr)}}
	case n == needTrust && e.trust == nil:
		reason = "the trust store is not open"
	default:
		return nil
	}
	return []finding{{Level: levelNote, Text: "not looked at: " + reason}}
}

func (e *exam) close() {
	if e.tok != nil {
		e.tok.Close()
	}
}

// look reads what several checks need from the open token.
func (e *exam) look(ctx context.Context) {
	e.keys = keystore.New(e.tok)
	if e.keyInfos, e.keysErr = e.keys.Keys(ctx); e.keysErr == nil {
		e.ids, e.keysErr = e.keys.Identities(ctx)
	}
	e.onToken, e.unofficial, e.anchorsErr = truststore.ReadAnchors(ctx, e.tok)
	if e.anchorsOff(ctx) {
		return
	}
	policy, err := e.app.crlPolicy()
	if err != nil {
		e.trustErr = err
		return
	}
	e.trust, e.trustErr = truststore.Open(ctx, e.tok, truststore.Config{
		Anchors: e.files, TokenAnchors: e.app.globals.tokenAnchors, ExpectAnchors: e.expected, CRLs: policy,
	})
}

// anchorsOff reads the roots outside the token and those of pairing CAs on it, as
// the terminal does, and reports whether there are none.
func (e *exam) anchorsOff(ctx context.Context) bool {
	if e.files, e.filesErr = e.app.anchors(); e.filesErr != nil && !errors.Is(e.filesErr, errNoRoots) {
		return true
	}
	if e.keysErr == nil {
		_ = addPairingRoots(ctx, e.keys, &e.files) // a CA that is no good is for the check of the pairing
	}
	if len(e.files.Pairing) > 0 {
		e.filesErr = nil
	}
	return e.filesErr != nil
}

// orFine is what a check found, or that all is well.
func orFine(found []finding, text string) []finding {
	if len(found) > 0 {
		return found
	}
	return []finding{{Level: levelOK, Text: text}}
}
