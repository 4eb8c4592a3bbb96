// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package keystore

import (
	"fmt"
	"strings"

	"github.com/hsmtls/hsmtls-go/internal/p11"
)

// Attributes are what a token says of a private key (PKCS#11 v2.40 section
// 4.9). An attribute that the token does not know is false.
type Attributes struct {
	Sensitive          bool // CKA_SENSITIVE: never shown in plain
	AlwaysSensitive    bool // and never was otherwise
	Extractable        bool // CKA_EXTRACTABLE: may be wrapped by another key
	NeverExtractable   bool // and never could be
	Local              bool // CKA_LOCAL: made inside the token
	Private            bool // CKA_PRIVATE: seen only after login
	Sign               bool
	Decrypt            bool
	Unwrap             bool
	Derive             bool
	SignRecover        bool
	AlwaysAuthenticate bool // CKA_ALWAYS_AUTHENTICATE: wants the PIN for every use
}

func attributesOf(a p11.Attributes) Attributes {
	return Attributes{
		Sensitive:          a.Sensitive,
		AlwaysSensitive:    a.AlwaysSensitive,
		Extractable:        a.Extractable,
		NeverExtractable:   a.NeverExtractable,
		Local:              a.Local,
		Private:            a.Private,
		Sign:               a.Sign,
		Decrypt:            a.Decrypt,
		Unwrap:             a.Unwrap,
		Derive:             a.Derive,
		SignRecover:        a.SignRecover,
		AlwaysAuthenticate: a.AlwaysAuthenticate,
	}
}

// A rule is a value that an attribute must have.
type rule struct {
	name string
	have bool
	want bool
}

// confined holds for a private key that was made in the token and never could
// leave it.
func (a Attributes) confined() []rule {
	return []rule{
		{"CKA_SENSITIVE", a.Sensitive, true},
		{"CKA_EXTRACTABLE", a.Extractable, false},
		{"CKA_ALWAYS_SENSITIVE", a.AlwaysSensitive, true},
		{"CKA_NEVER_EXTRACTABLE", a.NeverExtractable, true},
		{"CKA_LOCAL", a.Local, true},
	}
}

// signOnly holds for a private key that is good for nothing but signing.
func (a Attributes) signOnly() []rule {
	return []rule{
		{"CKA_PRIVATE", a.Private, true},
		{"CKA_SIGN", a.Sign, true},
		{"CKA_DECRYPT", a.Decrypt, false},
		{"CKA_UNWRAP", a.Unwrap, false},
		{"CKA_DERIVE", a.Derive, false},
		{"CKA_SIGN_RECOVER", a.SignRecover, false},
	}
}

// broken names the rules that do not hold. It is empty if all do.
func broken(rules []rule) string {
	var names []string
	for _, r := range rules {
		if r.have != r.want {
			names = append(names, fmt.Sprintf("%s=%t", r.name, r.have))
		}
	}
	return strings.Join(names, ", ")
}

// admit decides from what the token says of a key whether it may be used. It
// does not reach the token.
func (s *Store) admit(k p11.Key) error {
	a := attributesOf(k.Attributes)
	switch faults := broken(a.confined()); {
	case len(k.ID) == 0:
		return fmt.Errorf("%w: the key has no CKA_ID", ErrMismatch)
	case !a.Sign:
		return fmt.Errorf("%w: the key may not sign (CKA_SIGN=false)", ErrUnsupported)
	case faults != "" && !s.AllowInsecureKeys:
		return fmt.Errorf("%w: %s", ErrExtractable, faults)
	}
	return nil
}
