// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"crypto/x509"
	"errors"
	"slices"
	"time"

	"github.com/hsmtls/hsmtls-go/internal/largekey"
)

// A question is what is asked about a peer.
type question struct {
	name  string // empty: no name is asked for
	usage x509.ExtKeyUsage
	at    time.Time
}

// valid refuses a question that crypto/x509 would answer in a wider sense: for
// every usage, or for whatever time it is.
func (q question) valid(chain []*x509.Certificate) error {
	switch {
	case !isTLSUsage(q.usage):
		return errors.New("usage is neither serverAuth nor clientAuth")
	case q.at.IsZero():
		return errors.New("no time is given")
	}
	return whole(chain)
}

// whole reports whether there is a certificate, and nothing but certificates.
func whole(chain []*x509.Certificate) error {
	if len(chain) == 0 || slices.Contains(chain, nil) {
		return errors.New("certificate is missing")
	}
	return nil
}

// paths returns the ways from c to an anchor that crypto/x509 finds good.
func (q question) paths(c *x509.Certificate, between, anchors *x509.CertPool) ([][]*x509.Certificate, error) {
	found, err := c.Verify(x509.VerifyOptions{
		DNSName:       q.name,
		Roots:         anchors,
		Intermediates: between,
		CurrentTime:   q.at,
		KeyUsages:     []x509.ExtKeyUsage{q.usage},
	})
	if err != nil {
		return nil, &RejectedError{c, err}
	}
	return found, nil
}

// usagesOf returns what a path is good for: each usage that no certificate on it
// excludes (RFC 5280 section 4.2.1.12; that it binds issuers too is CABF 7.1.2).
func usagesOf(path []*x509.Certificate) (usages []x509.ExtKeyUsage) {
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		if !slices.ContainsFunc(path, func(c *x509.Certificate) bool { return excludes(c, usage) }) {
			usages = append(usages, usage)
		}
	}
	return usages
}

func excludes(c *x509.Certificate, usage x509.ExtKeyUsage) bool {
	return has(oidExtKeyUsage)(c) &&
		!slices.Contains(c.ExtKeyUsage, usage) && !slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny)
}

// issuers finds certificates by subject. Being in it is no trust.
type issuers map[string][]*x509.Certificate

func (i issuers) add(c *x509.Certificate) {
	if largekey.In(c) { // crypto/x509 would verify with it before the profile is asked
		return
	}
	subject := string(c.RawSubject)
	if !slices.ContainsFunc(i[subject], c.Equal) {
		i[subject] = append(i[subject], c)
	}
}

// above returns a pool of what may lie on a path from chain upwards, chain
// included. It is small, however many issuers there are.
func (i issuers) above(chain []*x509.Certificate) *x509.CertPool {
	pool := x509.NewCertPool()
	seen := map[string]bool{}
	for next := slices.Clone(chain); len(next) > 0; next = next[1:] {
		c := next[0]
		if seen[string(c.Raw)] {
			continue
		}
		seen[string(c.Raw)] = true
		if !largekey.In(c) {
			pool.AddCert(c)
		}
		next = append(next, i[string(c.RawIssuer)]...)
	}
	return pool
}
