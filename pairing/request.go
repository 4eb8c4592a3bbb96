// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package pairing

import (
	"bytes"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// maxRequest bounds a request, in bytes. A certificate request for RSA-8192 has
// a quarter of that.
const maxRequest = 16 << 10

// request is a pairing request that is worth comparing its code.
type request struct {
	posID string
	code  Code
	pub   crypto.PublicKey // of the certificate request; nil if the terminal is to make a key
}

// parseRequest reads {"posId":"…","setupCode":"…","csr":"…"}. Names are exact
// and may not be repeated; unknown ones are ignored. Errors are [ErrRequest],
// [ErrPOSID], [ErrCode] or [ErrCSR].
func parseRequest(text []byte) (request, error) {
	var r request
	fields, err := parseObject(text, "posId", "setupCode", "csr")
	if err != nil {
		return r, err
	}
	posID, ok := fields["posId"]
	code, okCode := fields["setupCode"]
	if !ok || !okCode {
		return r, fmt.Errorf("%w: posId and setupCode are required", ErrRequest)
	}
	if err := CheckPOSID(posID); err != nil {
		return r, err
	}
	if r.code, err = ParseCode(code); err != nil {
		return r, err
	}
	if csr, ok := fields["csr"]; ok {
		if r.pub, err = parseCSR(csr); err != nil {
			return r, err
		}
	}
	r.posID = posID
	return r, nil
}

// parseRenewal reads {"csr":"…"}.
func parseRenewal(text []byte) (crypto.PublicKey, error) {
	fields, err := parseObject(text, "csr")
	if err != nil {
		return nil, err
	}
	csr, ok := fields["csr"]
	if !ok {
		return nil, fmt.Errorf("%w: csr is required", ErrRequest)
	}
	return parseCSR(csr)
}

// parseObject reads one JSON object and returns those of the named members that
// are there. They must be strings. encoding/json alone would take members whose
// names differ in case, and the last of several.
func parseObject(text []byte, names ...string) (map[string]string, error) {
	if !utf8.Valid(text) {
		return nil, fmt.Errorf("%w: not UTF-8", ErrRequest)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return nil, fmt.Errorf("%w: not a JSON object", ErrRequest)
	}
	found := make(map[string]string)
	seen := make(map[string]bool)
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, errSyntax
		}
		key, _ := name.(string) // the decoder takes nothing else here
		if seen[key] {
			return nil, fmt.Errorf("%w: a member is there twice", ErrRequest)
		}
		seen[key] = true
		if err := member(d, key, names, found); err != nil {
			return nil, err
		}
	}
	if _, err := d.Token(); err != nil { // the closing brace
		return nil, errSyntax
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errSyntax
	}
	return found, nil
}

var errSyntax = fmt.Errorf("%w: JSON syntax", ErrRequest)

// member reads the value of one member and keeps it if it is asked for.
func member(d *json.Decoder, key string, names []string, found map[string]string) error {
	var value json.RawMessage
	if err := d.Decode(&value); err != nil {
		return errSyntax
	}
	for _, name := range names {
		if key != name {
			continue
		}
		var text *string
		if json.Unmarshal(value, &text) != nil || text == nil {
			return fmt.Errorf("%w: %s must be a string", ErrRequest, name)
		}
		found[name] = *text
	}
	return nil
}
