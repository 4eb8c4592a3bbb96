// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strconv"
	"strings"

	pkcs11uri "github.com/stefanberger/go-pkcs11uri"
)

// resolve returns the configuration with the URI's attributes in the fields
// that are not set.
func (c Config) resolve() (Config, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.URI != "" {
		u, err := parseURI(c.URI)
		if err != nil {
			return c, err
		}
		if err := c.fill(u); err != nil {
			return c, err
		}
	}
	if c.Module == "" {
		return c, errors.New("no PKCS#11 module: set Module, or module-path in the URI")
	}
	return c, nil
}

// uri holds the attributes of an RFC 7512 URI that name a token.
type uri struct {
	module, token, serial, slot string
	pinSource, pinValue         string
}

// malformed says what is wrong with a URI, and not a word of one with a PIN in it.
func malformed(s string, err error) error {
	switch {
	case strings.Contains(strings.ToLower(s), "pin-value"):
		return errors.New("PKCS#11 URI: malformed, near the PIN or elsewhere")
	case !strings.HasPrefix(s, "pkcs11:"):
		return fmt.Errorf("PKCS#11 URI: %q lacks the scheme pkcs11", s)
	}
	return fmt.Errorf("PKCS#11 URI: %w", err)
}

// parseURI refuses what it does not use: an attribute that is ignored could
// have been the one that made the difference.
func parseURI(s string) (uri, error) {
	parsed := pkcs11uri.New()
	if err := parsed.Parse(s); err != nil {
		return uri{}, malformed(s, err)
	}
	var u uri
	path := map[string]*string{"token": &u.token, "serial": &u.serial, "slot-id": &u.slot}
	query := map[string]*string{"module-path": &u.module, "pin-source": &u.pinSource, "pin-value": &u.pinValue}
	for _, name := range attributeNames(s) {
		if path[name] == nil && query[name] == nil {
			return uri{}, fmt.Errorf("PKCS#11 URI: attribute %q is not used here", name)
		}
	}
	for name, field := range path {
		*field, _ = parsed.GetPathAttribute(name, false)
	}
	for name, field := range query {
		*field, _ = parsed.GetQueryAttribute(name, false)
	}
	return u, nil
}

// attributeNames lists what stands before each "=" of a URI.
func attributeNames(s string) []string {
	var names []string
	path, query, _ := strings.Cut(strings.TrimPrefix(s, "pkcs11:"), "?")
	for _, attribute := range append(strings.Split(path, ";"), strings.Split(query, "&")...) {
		if name, _, ok := strings.Cut(attribute, "="); ok {
			names = append(names, name)
		}
	}
	return names
}

// fill takes from the URI what the fields do not say.
func (c *Config) fill(u uri) error {
	c.Module = cmp.Or(c.Module, u.module)
	c.Token = cmp.Or(c.Token, u.token)
	c.Serial = cmp.Or(c.Serial, u.serial)
	if u.slot != "" && c.SlotID == nil {
		n, err := strconv.ParseUint(u.slot, 10, 32)
		if err != nil {
			return fmt.Errorf("PKCS#11 URI: slot-id %q is no number", u.slot)
		}
		slot := uint(n)
		c.SlotID = &slot
	}
	return c.fillPIN(u)
}

func (c *Config) fillPIN(u uri) error {
	switch {
	case u.pinSource != "" && u.pinValue != "":
		return errors.New("PKCS#11 URI: pin-source and pin-value exclude each other") // RFC 7512 section 2.3
	case !c.PIN.IsZero():
		return nil
	case u.pinValue != "":
		c.Logger.Warn("hsm: the PIN stands in the PKCS#11 URI, where logs and process lists can show it; use pin-source")
		c.PIN = PINFunc(func(context.Context) ([]byte, error) { return []byte(u.pinValue), nil })
	case u.pinSource != "":
		path, err := pinSourcePath(u.pinSource)
		if err != nil {
			return err
		}
		c.PIN = PINFile(path)
	}
	return nil
}

// pinSourcePath takes the file of a pin-source: a path or a file URI. The
// "|command" form of RFC 7512 section 2.4 is refused.
func pinSourcePath(source string) (string, error) {
	if strings.HasPrefix(source, "|") {
		return "", errors.New("PKCS#11 URI: pin-source does not run commands")
	}
	u, err := url.Parse(source)
	if err != nil {
		return "", fmt.Errorf("PKCS#11 URI: pin-source: %w", err)
	}
	switch u.Scheme {
	case "":
		return source, nil
	case "file":
		return cmp.Or(u.Path, u.Opaque), nil
	}
	return "", fmt.Errorf("PKCS#11 URI: pin-source of scheme %q", u.Scheme)
}
