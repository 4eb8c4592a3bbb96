// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"cmp"
	"context"
	"crypto"
	"encoding/hex"
	"errors"
	"slices"
	"strings"

	"github.com/hsmtls/hsmtls-go/keystore"
)

// anew is how a key that is no good is replaced.
func anew(i keystore.KeyInfo) string {
	lines := []string{
		mend("key", "generate", "NEW"), mend("csr", "NEW", "--subject", "CN=NAME", "--out", "request.csr"),
		mend("cert", "inject", "NEW_pub", "ANSWER.pem", "--key", "NEW"),
	}
	if i.Alias != "" {
		lines = append(lines, mend("key", "delete", last(i.Alias)))
	}
	return mends(lines...)
}

// keyName is what a key is called, if only by its CKA_ID.
func keyName(i keystore.KeyInfo) string {
	return cmp.Or(i.Alias, "id "+hex.EncodeToString(i.ID))
}

func checkKeys(_ context.Context, e *exam) (found []finding) {
	for _, i := range e.keyInfos {
		found = append(found, e.examineKey(i)...)
	}
	if len(e.keyInfos) == 0 {
		return []finding{{
			Level: levelNote, Text: "there is no private key", Why: "the token can prove nobody's identity",
			Mend: mend("key", "generate", "ALIAS"),
		}}
	}
	return orFine(found, count(len(e.keyInfos), "key", "keys")+", made inside, sign only, never extractable")
}

func (e *exam) examineKey(i keystore.KeyInfo) (found []finding) {
	name := keyName(i)
	switch {
	case errors.Is(i.Problem, keystore.ErrExtractable):
		found = append(found, finding{
			Level: levelError, Subject: name, Text: sentence(i.Problem),
			Why: "there may be a copy of it outside, so it proves nothing; every certificate of it has to be revoked", Mend: anew(i),
		})
	case i.Problem != nil:
		found = append(found, finding{Level: levelError, Subject: name, Text: sentence(i.Problem), Why: "no connection is made with such a key", Mend: anew(i)})
	}
	if more := abilities(i.Attributes); more != "" {
		found = append(found, finding{
			Level: levelWarning, Subject: name, Text: more,
			Why: "a key for TLS signs; each further use is a further way to abuse it", Mend: anew(i),
		})
	}
	if !slices.ContainsFunc(e.ids, func(id keystore.IdentityInfo) bool { return certifies(id, i) }) {
		found = append(found, e.unused(i))
	}
	return found
}

// certifies tells whether a certificate is, or claims to be, of a key.
func certifies(id keystore.IdentityInfo, i keystore.KeyInfo) bool {
	if i.Alias != "" {
		return id.KeyAlias == i.Alias
	}
	if len(id.Chain) == 0 {
		return false
	}
	public, ok := id.Chain[0].PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	return ok && i.Public != nil && public.Equal(i.Public)
}

// abilities says what a key is good for beyond signing after login.
func abilities(a keystore.Attributes) string {
	var words []string
	for _, able := range []struct {
		can  bool
		word string
	}{
		{a.Decrypt, "may decrypt"}, {a.Unwrap, "may unwrap keys"}, {a.Derive, "may derive keys"},
		{a.SignRecover, "may sign with recovery"}, {!a.Private, "can be seen without login"},
	} {
		if able.can {
			words = append(words, able.word)
		}
	}
	return strings.Join(words, ", ")
}

// unused is about a key without certificate. One that is refused gets no request.
func (e *exam) unused(i keystore.KeyInfo) finding {
	f := finding{Level: levelNote, Subject: keyName(i), Text: "the key has no certificate", Why: "it is of no use before a CA has signed one"}
	if i.Problem == nil && i.Alias != "" {
		f.Mend = mends(mend("csr", "--subject", "CN=NAME", "--out", "request.csr", last(i.Alias)),
			mend("cert", "inject", word(i.Alias+"_pub"), "ANSWER.pem", "--key", word(i.Alias)))
	}
	return f
}

// checkPairing resolves each identity as dial and serve do. A key's signature is
// verified once.
func checkPairing(ctx context.Context, e *exam) (found []finding) {
	seen := map[string]bool{}
	for _, info := range e.ids {
		if seen[info.Alias] {
			continue
		}
		seen[info.Alias] = true
		identity, err := e.keys.Identity(ctx, info.Alias)
		if err != nil {
			found = append(found, e.unpaired(info, err))
			continue
		}
		e.proved = append(e.proved, identity)
	}
	slices.SortFunc(e.proved, func(a, b *keystore.Identity) int { return cmp.Compare(a.Alias, b.Alias) })
	if len(seen) == 0 {
		return []finding{{Level: levelNote, Text: "there is no certificate of a key", Mend: mend("cert", "inject", "ALIAS", "CHAIN.pem", "--key", "KEYALIAS")}}
	}
	return orFine(found, count(len(e.proved), "certificate belongs to its key", "certificates belong to their keys")+", as a test signature proves")
}

func (e *exam) unpaired(info keystore.IdentityInfo, err error) finding {
	f := finding{
		Level: levelError, Subject: info.Alias, Text: reason(err),
		Why: "nobody can be shown this certificate", Mend: mend("cert", "delete", last(info.Alias)),
	}
	switch {
	case errors.Is(err, keystore.ErrExtractable):
		f.Level, f.Text, f.Mend = levelNote, "not proved, because its key is refused: see keys", ""
	case errors.Is(err, keystore.ErrAmbiguous):
		f.Why = "nothing is chosen for being found first"
		f.Mend = mends(mend("cert", "list"), e.discard("--label", word(info.Alias), "--id", "ID"))
	case errors.Is(err, keystore.ErrMismatch):
		f.Mend = mends(f.Mend, mend("cert", "inject", word(info.Alias), "CHAIN.pem", "--key", "KEYALIAS"))
	}
	return f
}
