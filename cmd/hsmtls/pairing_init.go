// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/hsmtls/hsmtls-go/keystore"
	"github.com/hsmtls/hsmtls-go/pairing"
)

// A newAuthority is the flags of pairing init.
type newAuthority struct {
	alias, key, typ, subject string

	csr, chain string
	self       bool

	keyType keystore.KeyType
	name    pkix.Name
}

func (a *app) pairingInit() *cobra.Command {
	var n newAuthority
	c := &cobra.Command{
		Use:   "init ALIAS --key KEYALIAS {--self | --csr FILE | --chain FILE}",
		Short: "make the CA that vouches for POS",
		Long: `init makes the pairing CA, which signs the certificates of POS. Its key is made inside
the token, unless KEYALIAS is there already. The CA gets its own certificate in one of
two ways:

from the acquirer or the vendor: --csr writes the request, and --chain puts the answer
on the token, which is the certificate of the CA, then its issuers up to the root. The
CA must be for client authentication only and have path length 0.

from nobody (--self): a root is made on the spot that can vouch for POS and for
nothing else. Its key is made inside the token, signs this one CA, and is destroyed.

terminal uses the CA under ALIAS.

JSON: with --csr alias, pem; otherwise
` + identityHelp,
		Example: "  hsmtls pairing init pairing_ca --key pairing --self\n" +
			"  hsmtls pairing init pairing_ca --key pairing --csr pairing.csr\n" +
			"  hsmtls pairing init pairing_ca --key pairing --chain pairing.pem",
		Args:              takes("ALIAS"),
		ValidArgsFunction: completes(),
		RunE: a.does(func(ctx context.Context, args []string) error {
			n.alias = args[0]
			if err := n.parse(); err != nil {
				return err
			}
			return a.newAuthority(ctx, n)
		}),
	}
	f := c.Flags()
	f.StringVar(&n.key, "key", "", "`KEYALIAS` of the CA's key")
	typeFlag(c, &n.typ, "p256", " if it is made")
	f.StringVar(&n.subject, "subject", "CN=POS pairing CA", "`SUBJECT` of the CA, such as CN=t-0042 pairing,O=Acquirer")
	f.StringVar(&n.csr, "csr", "", "`FILE` to write a certificate request to; \"-\" is standard output")
	f.StringVar(&n.chain, "chain", "", "`FILE` with the answer: the CA's certificate, then its issuers")
	f.BoolVar(&n.self, "self", false, "make a root of its own for this CA")
	c.MarkFlagsOneRequired("csr", "self", "chain")
	c.MarkFlagsMutuallyExclusive("csr", "self", "chain")
	c.MarkFlagsMutuallyExclusive("chain", "subject")
	c.MarkFlagsMutuallyExclusive("chain", "type")
	mustHave(c, "key")
	return c
}

func (n *newAuthority) parse() (err error) {
	if n.keyType, err = parseKeyType(n.typ); err != nil {
		return err
	}
	if n.name, err = parseSubject(n.subject); err != nil {
		return usagef("invalid argument %q for --subject: %w", n.subject, err)
	}
	if len(n.name.ToRDNSequence()) == 0 {
		return usagef("invalid argument %q for --subject: a CA has a name", n.subject)
	}
	return nil
}

func (a *app) newAuthority(ctx context.Context, n newAuthority) error {
	var chain, named []*x509.Certificate
	if n.chain != "" {
		var err error
		if chain, err = a.readCertificates(n.chain); err != nil {
			return err
		}
		if named, err = a.namedRoots(); err != nil && !errors.Is(err, errNoRoots) {
			return err
		}
	}
	return a.withKeys(ctx, func(keys *keystore.Store) error {
		switch {
		case n.self:
			return a.selfAuthority(ctx, keys, n)
		case n.chain != "":
			chain, _ = complete(chain, named)
			return a.installAuthority(ctx, keys, n, chain)
		}
		return a.requestAuthority(ctx, keys, n)
	})
}

func (a *app) requestAuthority(ctx context.Context, keys *keystore.Store, n newAuthority) error {
	key, err := keyOrNew(ctx, keys, n.key, n.keyType)
	if err != nil {
		return err
	}
	der, err := pairing.AuthorityRequest(key, n.name)
	if err != nil {
		return err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
	return a.showFile(n.csr, text, n.alias, "certificate request of pairing CA")
}

// selfAuthority makes a root that signs this one CA.
func (a *app) selfAuthority(ctx context.Context, keys *keystore.Store, n newAuthority) error {
	switch _, err := keys.Identity(ctx, n.alias); {
	case err == nil:
		return fmt.Errorf("%q: %w", n.alias, keystore.ErrExists)
	case !errors.Is(err, keystore.ErrNotFound):
		return err
	}
	key, err := keyOrNew(ctx, keys, n.key, n.keyType)
	if err != nil {
		return err
	}
	chain, err := n.selfSigned(ctx, keys, key)
	if err != nil {
		return err
	}
	return a.installAuthority(ctx, keys, n, chain)
}

// selfSigned returns the CA and its root, whose key does not outlive this.
func (n newAuthority) selfSigned(ctx context.Context, keys *keystore.Store, key *keystore.Key) (_ []*x509.Certificate, err error) {
	alias := n.key + " root"
	rootKey, err := keys.Generate(ctx, alias, n.keyType)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, keys.DeleteKey(context.WithoutCancel(ctx), alias)) }()
	now := time.Now()
	root, err := pairing.NewLocalRoot(rootKey, n.rootName(), now)
	if err != nil {
		return nil, err
	}
	ca, err := pairing.NewLocalAuthority(root, rootKey, key.Public(), n.name, now)
	return []*x509.Certificate{ca, root}, err
}

// rootName is like no other: two roots of one name would be taken for each other.
func (n newAuthority) rootName() pkix.Name {
	var random [4]byte
	rand.Read(random[:])
	name := n.name
	name.CommonName = fmt.Sprintf("POS pairing root %x", random)
	return name
}

func (a *app) installAuthority(ctx context.Context, keys *keystore.Store, n newAuthority, chain []*x509.Certificate) error {
	key, err := keys.Key(ctx, n.key)
	if err != nil {
		return err
	}
	if err := prove(&pairing.Issuer{Key: key, Chain: chain}); err != nil {
		return err
	}
	if err := keys.InjectAuthority(ctx, n.alias, n.key, chain); err != nil {
		return err
	}
	return a.injected(ctx, keys, n.alias, "installed")
}

// prove has a CA issue a certificate for a key that nobody has, and forgets it.
func prove(ca *pairing.Issuer) error {
	nobody, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	_, err = ca.Issue("proof", nobody.Public(), time.Now())
	return err
}
