// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtls

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
)

var errNoChain = errors.New("hsmtls: trust accepted the peer without a chain")

// verifyPeer holds every check of a peer: the chain policy, then Trust, then
// VerifyPeer. It runs in VerifyConnection, hence on resumed sessions too, and
// before the peer's key is proved, hence without side effects. It returns the
// chain that Trust accepted.
func (p *Provider) verifyPeer(cs tls.ConnectionState, name string, usage x509.ExtKeyUsage) ([]*x509.Certificate, error) {
	chain, err := p.acceptedChain(cs.PeerCertificates, name, usage)
	if err != nil {
		return nil, &tls.CertificateVerificationError{UnverifiedCertificates: cs.PeerCertificates, Err: err}
	}
	if p.VerifyPeer == nil {
		return chain, nil
	}
	cs.VerifiedChains = [][]*x509.Certificate{chain}
	if err := p.VerifyPeer(cs); err != nil {
		return nil, fmt.Errorf("hsmtls: peer refused: %w", err)
	}
	return chain, nil
}

func (p *Provider) acceptedChain(sent []*x509.Certificate, name string, usage x509.ExtKeyUsage) ([]*x509.Certificate, error) {
	if len(sent) == 0 {
		return nil, &PolicyError{Rule: RulePeer, Detail: "no certificate"}
	}
	if err := checkChain(sent); err != nil {
		return nil, err
	}
	if err := checkUsage(sent[0], usage); err != nil {
		return nil, err
	}
	chain, err := p.Trust.Verify(sent, name, usage, p.now())
	if err != nil {
		return nil, err
	}
	if len(chain) == 0 || !chain[0].Equal(sent[0]) {
		return nil, errNoChain
	}
	return chain, checkChain(chain)
}

// trustGeneration returns the number of Trust's present content, 0 if it does
// not count.
func (p *Provider) trustGeneration() uint64 {
	if g, ok := p.Trust.(interface{ Generation() uint64 }); ok {
		return g.Generation()
	}
	return 0
}
