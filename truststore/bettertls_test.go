// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"testing"
	"time"

	"github.com/Netflix/bettertls/test-suites/nameconstraints"
	"github.com/Netflix/bettertls/test-suites/pathbuilding"
	testcase "github.com/Netflix/bettertls/test-suites/test-case"
	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

// TestBetterTLS puts the chains of BetterTLS before the rules of this package: no
// chain that should fail may pass. Of the good ones, those whose common name is a
// host that is not among the names are refused by the rule leaf-common-name, and
// none for another reason.
func TestBetterTLS(t *testing.T) {
	t.Parallel()
	for _, suite := range []testcase.TestCaseProvider{nameconstraints.NewTestCaseProvider(), pathbuilding.NewTestCaseProvider()} {
		t.Run(suite.Name(), func(t *testing.T) {
			t.Parallel()
			root := testpki.NewRoot("bettertls_trust_root")
			n, err := suite.GetTestCaseCount()
			require.NoError(t, err)
			var score betterScore
			for i := range n {
				c, err := suite.GetTestCase(i)
				require.NoError(t, err)
				score.ask(t, i, c, root)
			}
			t.Logf("%d cases, %d of %d good chains refused by the profile, %d without it: %v", n, score.strict, score.good, score.lost, score.reasons)
			require.Positive(t, score.good)
			require.Positive(t, score.bad)
			require.Zero(t, score.lost, "of the good chains that crypto/x509 can build")
			delete(score.reasons, "leaf-common-name")
			require.Empty(t, score.reasons, "another rule is too strict")
		})
	}
}

// A betterScore counts what became of the cases.
type betterScore struct {
	good, bad    int
	strict, lost int // good ones refused, with the profile and without
	reasons      map[string]int
}

func (s *betterScore) ask(t *testing.T, i uint, c testcase.TestCase, root *testpki.CA) {
	t.Helper()
	pair, err := c.GetCertificates(root.Certificate, root.Key)
	require.NoError(t, err)
	err = verifyBetter(pair, c.GetHostname(), certs(root.Certificate))
	switch c.ExpectedResult() {
	case testcase.EXPECTED_RESULT_FAIL:
		s.bad++
		require.Error(t, err, "case %d must be refused", i)
	case testcase.EXPECTED_RESULT_PASS:
		s.good++
		s.note(err, pair, c.GetHostname(), root.Certificate)
	}
}

// note counts a good chain that is refused, and whether building its path is the
// problem.
func (s *betterScore) note(err error, pair *tls.Certificate, name string, root *x509.Certificate) {
	if err == nil {
		return
	}
	s.strict++
	if s.reasons == nil {
		s.reasons = map[string]int{}
	}
	s.reasons[reasonOf(err)]++
	chain, err := parseAll(pair.Certificate)
	if err != nil {
		return
	}
	q := question{name, serverAuth, time.Now()}
	if _, err := q.paths(chain[0], issuers{}.above(chain), poolOf(certs(root))); err != nil {
		s.lost++
	}
}

func verifyBetter(pair *tls.Certificate, name string, roots []*x509.Certificate) error {
	chain, err := parseAll(pair.Certificate)
	if err != nil {
		return err
	}
	_, err = VerifyChain(roots, chain, name, serverAuth, time.Now())
	return err
}

func parseAll(ders [][]byte) (chain []*x509.Certificate, err error) {
	for _, der := range ders {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		chain = append(chain, c)
	}
	return chain, nil
}

// reasonOf is the broken rule, or the kind of another error.
func reasonOf(err error) string {
	var rule *RuleError
	if errors.As(err, &rule) {
		return rule.Rule
	}
	return "crypto/x509"
}
