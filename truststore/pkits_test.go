// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"cmp"
	"crypto/x509"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The path validation suite of NIST that comes with the source of Go. Its
// end-entity certificates have neither extended key usage nor, mostly, names, so
// the profile would refuse them all; the test therefore leaves these two rules
// out, and asks for the good paths too.
//
// The sections about policies (4.8 to 4.12) are asked as far as they begin with any
// policy and no demand: a Store has no setting for another beginning. Many of their
// good paths have policy constraints that are not critical, which the profile
// refuses, so only the bad ones count. The CRLs of
// the sections that need them (4.4, 4.5, 4.7.4, 4.7.5, 4.14, 4.15) do not come with
// Go. Without them a Store that requires CRLs has to refuse every one of these
// paths; what the CRLs are about is asked with CRLs of our own, in
// TestPKITSRevocation.
var (
	pkitsSections = regexp.MustCompile(`^(4\.1|4\.2|4\.3|4\.6|4\.7\.[123]|4\.8|4\.9|4\.10|4\.11|4\.12|4\.13|4\.16)(\.| )`)
	pkitsPolicies = regexp.MustCompile(`^4\.(8|9|10|11|12)(\.| )`)
	pkitsCRLs     = regexp.MustCompile(`^(4\.4|4\.5|4\.7\.[45]|4\.14|4\.15)(\.| )`)
)

// pkitsTooStrict are the good paths that are refused.
var pkitsTooStrict = map[string][]string{
	"DSA":                         {"4.1.4", "4.1.5"},
	"GeneralizedTime before 2050": {"4.2.4"},
	"names that are equal only after the folding of RFC 5280 7.1": {"4.3.3", "4.3.4", "4.3.5", "4.3.10", "4.3.11"},
	"basic constraints that are not critical":                     {"4.6.4"},
	"a CA as end entity": {"4.6.8", "4.6.14"},
	"self-issued certificates count for the path length": {"4.6.15", "4.6.17"},
	"constraints on directory names":                     {"4.13.1", "4.13.4", "4.13.5", "4.13.6", "4.13.11", "4.13.14", "4.13.18", "4.13.19", "4.13.27"},
	"constraints on a single host, for email or URI":     {"4.13.23", "4.13.25", "4.13.36"},
}

func TestPKITS(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(goroot(t), "src", "crypto", "x509", "testdata", "nist-pkits")
	var cases []struct {
		Name           string
		CertPath       []string // anchor first
		ShouldValidate bool

		InitialPolicySet                                                            []string
		InitialPolicyMappingInhibit, InitialExplicitPolicy, InitialAnyPolicyInhibit bool
	}
	data, err := os.ReadFile(filepath.Join(dir, "vectors.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &cases))

	strict := map[string]bool{}
	for _, names := range pkitsTooStrict {
		for _, name := range names {
			strict[name] = true
		}
	}
	asked, accepted, withCRLs := 0, 0, 0
	for _, tt := range cases {
		if pkitsCRLs.MatchString(tt.Name) {
			require.Error(t, verifyPKITS(t, filepath.Join(dir, "certs"), tt.CertPath, &revocations{policy: RequireCRL}), tt.Name)
			withCRLs++
			continue
		}
		demands := tt.InitialPolicyMappingInhibit || tt.InitialExplicitPolicy || tt.InitialAnyPolicyInhibit || !slices.Equal(tt.InitialPolicySet, []string{"anyPolicy"})
		if !pkitsSections.MatchString(tt.Name) || demands {
			continue
		}
		number, _, _ := strings.Cut(tt.Name, " ")
		err := verifyPKITS(t, filepath.Join(dir, "certs"), tt.CertPath, nil)
		if good := tt.ShouldValidate && !strict[number]; !good || !pkitsPolicies.MatchString(tt.Name) {
			require.Equal(t, good, err == nil, "%s: %v", tt.Name, err)
		}
		asked++
		if err == nil {
			accepted++
		}
	}
	require.GreaterOrEqual(t, asked, 85, "the suite is not what it was")
	require.GreaterOrEqual(t, accepted, 15)
	require.Equal(t, 76, withCRLs, "the suite is not what it was")
}

func verifyPKITS(t *testing.T, dir string, files []string, r *revocations) error {
	t.Helper()
	var chain []*x509.Certificate
	for _, file := range files {
		der, err := os.ReadFile(filepath.Join(dir, file))
		require.NoError(t, err)
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return err
		}
		chain = append(chain, cert)
	}
	q := question{usage: x509.ExtKeyUsageAny, at: time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)}
	end, anchor := chain[len(chain)-1], chain[0]
	paths, err := q.paths(end, poolOf(chain[1:]), poolOf(certs(anchor)))
	for _, path := range paths {
		if err = cmp.Or(checkPath(path), checkAnchor(anchor), r.check(path, q.at)); err == nil {
			break
		}
	}
	for _, rule := range broken(end, leaf) {
		if rule != "leaf-san" && rule != "leaf-eku" {
			err = cmp.Or(err, errors.New(rule))
		}
	}
	return err
}

func goroot(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "env", "GOROOT").Output()
	require.NoError(t, err)
	return strings.TrimSpace(string(out))
}
