// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtls

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
)

// identity is an alias resolved: the certificate to present and the key to
// sign with. It is immutable.
type identity struct {
	alias  string
	cert   tls.Certificate // PrivateKey is key
	key    crypto.Signer
	digest [sha256.Size]byte // over the presented chain
}

var (
	errEmptyAlias    = fmt.Errorf("%w: empty alias", ErrIncomplete)
	errNoCertificate = errors.New("keys returned no certificate")
	errNotSigner     = errors.New("private key cannot sign")
	errKeyMismatch   = errors.New("private key does not belong to the certificate")
	errNoScheme      = errors.New("key supports none of the allowed signature schemes")
)

// identity resolves alias. It is the only place that asks Keys.
func (p *Provider) identity(ctx context.Context, alias string) (*identity, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	if alias == "" {
		return nil, errEmptyAlias
	}
	cert, err := p.Keys.Certificate(ctx, alias)
	if err != nil {
		return nil, fmt.Errorf("%w: alias %q: %w", ErrIncomplete, alias, err)
	}
	id, err := p.newIdentity(alias, cert)
	if err != nil {
		return nil, fmt.Errorf("%w: alias %q: %w", ErrIncomplete, alias, err)
	}
	return id, nil
}

// newIdentity checks what Keys returned and keeps a copy of it.
func (p *Provider) newIdentity(alias string, cert *tls.Certificate) (*identity, error) {
	if cert == nil || len(cert.Certificate) == 0 {
		return nil, errNoCertificate
	}
	key, ok := cert.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, errNotSigner
	}
	own, err := p.ownChain(alias, cert.Certificate)
	if err != nil {
		return nil, err
	}
	if !samePublicKey(own.leaf, key) {
		return nil, errKeyMismatch
	}
	id := &identity{alias: alias, cert: *cert, key: key, digest: own.digest}
	id.cert.Leaf = own.leaf
	if id.cert.SupportedSignatureAlgorithms, err = allowedSchemes(cert.SupportedSignatureAlgorithms); err != nil {
		return nil, err
	}
	p.warnOfEnd(alias, own)
	p.warnOfTrust()
	return id, nil
}

// ownChain is a chain of ours that passed the policy.
type ownChain struct {
	digest [sha256.Size]byte
	leaf   *x509.Certificate
	ends   *x509.Certificate // the first of the chain to end
	warned atomic.Int64      // Unix nanoseconds of the last warning of that
}

// ownChain parses and checks the chain of alias. It remembers the last one per
// alias, because a dial should not pay for parsing the same chain again, and
// because another one means that the alias has been renewed.
func (p *Provider) ownChain(alias string, ders [][]byte) (*ownChain, error) {
	digest, known := digestChain(ders), &p.state().ownChains
	if last, ok := known.Load(alias); ok && last.(*ownChain).digest == digest {
		return last.(*ownChain), nil
	}
	chain, err := parseChain(ders)
	if err != nil {
		return nil, err
	}
	if err := checkChain(chain); err != nil {
		return nil, err
	}
	own := &ownChain{digest: digest, leaf: chain[0], ends: firstToEnd(chain)}
	if last, ok := known.Swap(alias, own); ok && last.(*ownChain).digest != digest {
		p.switched(alias, own)
	}
	return own, nil
}

func parseChain(ders [][]byte) ([]*x509.Certificate, error) {
	chain := make([]*x509.Certificate, len(ders))
	for i, der := range ders {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		chain[i] = cert
	}
	return chain, nil
}

func samePublicKey(leaf *x509.Certificate, key crypto.Signer) bool {
	pub, ok := leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	return ok && pub.Equal(key.Public())
}

// allowedSchemes returns what is left of the schemes a key supports, nil
// meaning all. The result is never nil, so that crypto/tls cannot choose SHA-1
// whatever GODEBUG says.
func allowedSchemes(supported []tls.SignatureScheme) ([]tls.SignatureScheme, error) {
	if supported == nil {
		return slices.Clone(signatureSchemes), nil
	}
	left := slices.DeleteFunc(slices.Clone(supported), func(s tls.SignatureScheme) bool {
		return !slices.Contains(signatureSchemes, s)
	})
	if len(left) == 0 {
		return nil, errNoScheme
	}
	return left, nil
}

func digestChain(ders [][]byte) (sum [sha256.Size]byte) {
	h := sha256.New()
	for _, der := range ders {
		var size [8]byte
		binary.BigEndian.PutUint64(size[:], uint64(len(der)))
		h.Write(size[:])
		h.Write(der)
	}
	h.Sum(sum[:0])
	return sum
}

// generation identifies everything a resumed session silently inherits: the
// certificate presented, the content of the trust store and the policy. A
// session of another generation is not resumed.
type generation [sha256.Size]byte

func (p *Provider) generation(id *identity) (g generation) {
	h := sha256.New()
	h.Write(id.digest[:])
	var rest [10]byte
	binary.BigEndian.PutUint64(rest[:], p.trustGeneration())
	rest[8], rest[9] = flag(p.Policy.AllowTLS13), flag(p.Policy.AllowNoExtendedMasterSecret)
	h.Write(rest[:])
	h.Sum(g[:0])
	return g
}

func flag(on bool) byte {
	if on {
		return 1
	}
	return 0
}
