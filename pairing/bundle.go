// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package pairing

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"time"
)

const (
	typeKey         = "RSA PRIVATE KEY" // PKCS #1 (RFC 8017 appendix A.1.2)
	typeCertificate = "CERTIFICATE"

	maxBundle      = 64 << 10 // bytes
	maxBundleChain = 8        // certificates
)

// A Bundle is what a POS gets by pairing. Its certificates must not be modified.
type Bundle struct {
	// Key is the private key of Chain[0]: a [*rsa.PrivateKey] that the terminal
	// made, or the key the POS asked a certificate for. Nil after [ParseBundle]
	// of a reply to a certificate request.
	Key crypto.Signer
	// Chain is the certificate of the POS, the pairing CA, and what is above
	// it, the root last.
	Chain []*x509.Certificate
	// Root is the root of the terminal's own certificate, as the POS has
	// verified it. Nil after [ParseBundle], which cannot know it.
	Root *x509.Certificate
}

// encodeBundle returns the wire form: the key, if there is one, the certificate,
// the issuing CA, the root. Lines end in LF; the last one is followed by nothing.
func encodeBundle(key *rsa.PrivateKey, chain []*x509.Certificate) []byte {
	var out bytes.Buffer
	if key != nil {
		der := x509.MarshalPKCS1PrivateKey(key)
		_ = pem.Encode(&out, &pem.Block{Type: typeKey, Bytes: der}) // a Buffer takes everything
		clear(der)
	}
	for _, c := range chain {
		_ = pem.Encode(&out, &pem.Block{Type: typeCertificate, Bytes: c.Raw})
	}
	return out.Bytes()
}

// ParseBundle reads a terminal's reply: PEM with LF line ends and nothing else in
// it, at most one RSA PRIVATE KEY (PKCS #1) first, then the certificate of the
// POS, the issuing CA, any above it, and the root. Each certificate is signed by
// the next, the last by itself, and the key is that of the first. Anything else
// is [ErrBundle]. Dates are not looked at: the clock of a POS may be wrong.
func ParseBundle(text []byte) (*Bundle, error) {
	blocks, err := decodeBlocks(text)
	if err != nil {
		return nil, err
	}
	b := new(Bundle)
	if len(blocks) > 0 && blocks[0].Type == typeKey && len(blocks[0].Headers) == 0 {
		key, err := x509.ParsePKCS1PrivateKey(blocks[0].Bytes)
		if err != nil {
			return nil, fmt.Errorf("%w: private key cannot be read", ErrBundle) // never what is in it
		}
		b.Key, blocks = key, blocks[1:]
	}
	if b.Chain, err = parseCertificates(blocks); err != nil {
		return nil, err
	}
	return b, b.check()
}

// decodeBlocks insists on the one encoding of PEM that this package writes.
func decodeBlocks(text []byte) (blocks []*pem.Block, err error) {
	if len(text) > maxBundle {
		return nil, fmt.Errorf("%w: longer than %d bytes", ErrBundle, maxBundle)
	}
	var again bytes.Buffer
	for rest := text; len(rest) > 0; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		blocks = append(blocks, block)
		if err := pem.Encode(&again, block); err != nil {
			return nil, fmt.Errorf("%w: PEM header", ErrBundle)
		}
	}
	same := bytes.Equal(again.Bytes(), text)
	clear(again.Bytes())
	if !same {
		return nil, fmt.Errorf("%w: not PEM alone, in lines of 64 characters that end in LF", ErrBundle)
	}
	return blocks, nil
}

func parseCertificates(blocks []*pem.Block) ([]*x509.Certificate, error) {
	if len(blocks) < 3 || len(blocks) > maxBundleChain {
		return nil, fmt.Errorf("%w: %d certificates, want certificate, issuing CA and root", ErrBundle, len(blocks))
	}
	chain := make([]*x509.Certificate, len(blocks))
	for i, block := range blocks {
		if block.Type != typeCertificate || len(block.Headers) > 0 {
			return nil, fmt.Errorf("%w: block %d is no certificate", ErrBundle, i+1)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrBundle, err)
		}
		if root := bytes.Equal(c.RawIssuer, c.RawSubject); root != (i == len(blocks)-1) {
			return nil, fmt.Errorf("%w: the root, and it alone, must come last", ErrBundle)
		}
		chain[i] = c
	}
	return chain, nil
}

func (b *Bundle) check() error {
	leaf := b.Chain[0]
	if leaf.IsCA || !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageClientAuth) {
		return fmt.Errorf("%w: first certificate is not for a client", ErrBundle)
	}
	if b.Key != nil && !samePublicKey(leaf.PublicKey, b.Key.Public()) {
		return fmt.Errorf("%w: key does not belong to the certificate", ErrBundle)
	}
	if err := checkPublicKey(leaf.PublicKey); err != nil {
		return fmt.Errorf("%w: %w", ErrBundle, err)
	}
	if err := checkPath(b.Chain, leaf.NotBefore); err != nil {
		return fmt.Errorf("%w: %w", ErrBundle, err)
	}
	return nil
}

// Certificate returns the key and the chain for use with crypto/tls. The root
// is left out, as TLS peers do not need it.
func (b *Bundle) Certificate() tls.Certificate {
	c := tls.Certificate{PrivateKey: b.Key, Leaf: b.Chain[0]}
	for _, cert := range b.Chain[:len(b.Chain)-1] {
		c.Certificate = append(c.Certificate, cert.Raw)
	}
	return c
}

// Expires is when the certificate does.
func (b *Bundle) Expires() time.Time { return b.Chain[0].NotAfter }

// POSID returns the id in the certificate, empty if it was not issued by this
// package.
func (b *Bundle) POSID() string {
	id, _ := POSID(b.Chain[0])
	return id
}
