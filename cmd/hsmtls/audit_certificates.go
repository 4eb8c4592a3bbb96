// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"github.com/hsmtls/hsmtls-go/hsmtls"
)

// maxChain is how many certificates a server may send.
const maxChain = 8

// certificates judges what the server presents for each kind of key.
func (a *auditor) certificates() {
	for _, f := range a.answers {
		if len(f.chain) == 0 {
			a.say(hsmtls.RulePeer, "fail", "presents no certificate")
		}
		a.judge(len(f.chain) <= maxChain, hsmtls.RuleChainLength,
			fmt.Sprintf("is %d", len(f.chain)), fmt.Sprintf("is %d, more than %d", len(f.chain), maxChain))
		for i, der := range f.chain {
			c, err := x509.ParseCertificate(der)
			if err != nil {
				a.say(hsmtls.RulePeer, "fail", "certificate %d cannot be read: %v", i+1, err)
				continue
			}
			if i == 0 {
				a.leaf(c)
			}
			a.certificate(c)
		}
	}
}

// leaf judges what only the server's own certificate has to be.
func (a *auditor) leaf(c *x509.Certificate) {
	kept := slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageServerAuth) && !slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny)
	a.judge(kept, hsmtls.RuleCertificateUsage, "is that of a server", "is not that of a server alone, in "+c.Subject.String())
	if a.asked == "" {
		return
	}
	err := c.VerifyHostname(a.asked)
	a.judge(err == nil, hsmtls.RulePeer, "has a certificate for "+a.asked, problem(err))
}

func (a *auditor) certificate(c *x509.Certificate) {
	subject := c.Subject.String()
	if now := time.Now(); now.Before(c.NotBefore) || now.After(c.NotAfter) {
		a.say(hsmtls.RulePeer, "fail", "certificate is good from %s to %s only, in %s", date(c.NotBefore), date(c.NotAfter), subject)
	}
	signature := fmt.Sprintf("%v, in %s", c.SignatureAlgorithm, subject)
	a.judge(strongSignature(c.SignatureAlgorithm), hsmtls.RuleCertificateSignature, signature, signature)
	key := fmt.Sprintf("%s, in %s", keyWords(c.PublicKey), subject)
	a.judge(strongKey(c.PublicKey), hsmtls.RuleCertificateKey, key, key)
}

// strongSignature tells whether a certificate may be signed so (RFC 9325
// section 4.5).
func strongSignature(alg x509.SignatureAlgorithm) bool {
	switch alg {
	case x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA,
		x509.SHA256WithRSAPSS, x509.SHA384WithRSAPSS, x509.SHA512WithRSAPSS,
		x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512:
		return true
	}
	return false
}

func strongKey(public any) bool {
	switch k := public.(type) {
	case *rsa.PublicKey:
		return k.N.BitLen() >= 2048
	case *ecdsa.PublicKey:
		return k.Curve == elliptic.P256() || k.Curve == elliptic.P384() || k.Curve == elliptic.P521()
	}
	return false
}
