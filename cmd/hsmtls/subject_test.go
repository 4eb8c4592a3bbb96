// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"crypto/x509/pkix"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseSubject(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]pkix.Name{
		"":                             {},
		"CN=t-0042":                    {CommonName: "t-0042"},
		" cn = t-0042 , O=Acquirer ":   {CommonName: "t-0042", Organization: []string{"Acquirer"}},
		`O=Acme\, Inc.`:                {Organization: []string{"Acme, Inc."}},
		`CN=a\\b`:                      {CommonName: `a\b`},
		"CN=a=b":                       {CommonName: "a=b"},
		"OU=a,OU=b":                    {OrganizationalUnit: []string{"a", "b"}},
		"SERIALNUMBER=7,C=DE,L=x,ST=y": {SerialNumber: "7", Country: []string{"DE"}, Locality: []string{"x"}, Province: []string{"y"}},
		"STREET=a 1,POSTALCODE=12345":  {StreetAddress: []string{"a 1"}, PostalCode: []string{"12345"}},
		"CN=Zürich":                    {CommonName: "Zürich"},
	} {
		got, err := parseSubject(in)
		require.NoError(t, err, "parseSubject(%q)", in)
		require.Equal(t, want, got, "parseSubject(%q)", in)
	}
	for in, want := range map[string]error{
		"t-0042":                        errNoAttribute,
		"CN=":                           errNoAttribute,
		"=t-0042":                       errNoAttribute,
		"CN=a,":                         errNoAttribute,
		"CN=a,,O=b":                     errNoAttribute,
		"CN=a,CN=b":                     errTwice,
		`CN=a\`:                         errBackslash,
		"SERIALNUMBER=1,SERIALNUMBER=2": errTwice,
	} {
		_, err := parseSubject(in)
		require.ErrorIs(t, err, want, "parseSubject(%q)", in)
	}
	_, err := parseSubject("X=1")
	require.Error(t, err)
}
