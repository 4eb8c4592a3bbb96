// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"strings"
)

// attributes are what a subject may have, and where pkix.Name keeps it.
var attributes = map[string]func(*pkix.Name) *[]string{
	"C":          func(n *pkix.Name) *[]string { return &n.Country },
	"O":          func(n *pkix.Name) *[]string { return &n.Organization },
	"OU":         func(n *pkix.Name) *[]string { return &n.OrganizationalUnit },
	"L":          func(n *pkix.Name) *[]string { return &n.Locality },
	"ST":         func(n *pkix.Name) *[]string { return &n.Province },
	"STREET":     func(n *pkix.Name) *[]string { return &n.StreetAddress },
	"POSTALCODE": func(n *pkix.Name) *[]string { return &n.PostalCode },
}

var (
	errNoAttribute = errors.New("an attribute is TYPE=VALUE")
	errTwice       = errors.New("an attribute that can be there only once is there twice")
	errBackslash   = errors.New("nothing follows the last backslash")
)

// parseSubject reads a distinguished name in the form of RFC 4514, with one
// attribute to each step and no hexadecimal. The order does not matter: package
// pkix has one of its own.
func parseSubject(s string) (name pkix.Name, err error) {
	if strings.TrimSpace(s) == "" {
		return name, nil
	}
	parts, err := splitSubject(s)
	if err != nil {
		return name, err
	}
	for _, part := range parts {
		if err := addAttribute(&name, part); err != nil {
			return pkix.Name{}, err
		}
	}
	return name, nil
}

// splitSubject cuts at the commas that no backslash protects, and removes the
// backslashes.
func splitSubject(s string) (parts []string, err error) {
	var part strings.Builder
	escaped := false
	for _, r := range s {
		switch {
		case escaped:
			part.WriteRune(r)
			escaped = false
		case r == '\\':
			escaped = true
		case r == ',':
			parts = append(parts, part.String())
			part.Reset()
		default:
			part.WriteRune(r)
		}
	}
	if escaped {
		return nil, errBackslash
	}
	return append(parts, part.String()), nil
}

func addAttribute(name *pkix.Name, attribute string) error {
	typ, value, ok := strings.Cut(attribute, "=")
	typ, value = strings.ToUpper(strings.TrimSpace(typ)), strings.TrimSpace(value)
	if !ok || typ == "" || value == "" {
		return fmt.Errorf("%w, not %q", errNoAttribute, attribute)
	}
	if field, ok := attributes[typ]; ok {
		*field(name) = append(*field(name), value)
		return nil
	}
	single := map[string]*string{"CN": &name.CommonName, "SERIALNUMBER": &name.SerialNumber}[typ]
	if single == nil {
		return fmt.Errorf("unknown attribute %q", typ)
	}
	if *single != "" {
		return fmt.Errorf("%w: %s", errTwice, typ)
	}
	*single = value
	return nil
}
