// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/keystore"
	"github.com/hsmtls/hsmtls-go/pairing"
	"github.com/hsmtls/hsmtls-go/truststore"
)

func (a *app) pairingCommand() *cobra.Command {
	return group("pairing", "make the CA that vouches for POS, list paired POS and revoke them",
		a.pairingInit(), a.pairingList(), a.pairingRevoke())
}

// A paired is what is shown of a POS. JSON has these fields.
type paired struct {
	POSID       string      `json:"pos_id"`
	Certificate certificate `json:"certificate"`
}

const pairedHelp = "pos_id, certificate; in a certificate\n" + certificateHelp + "."

// pairedPOS are the POS of a list, by id.
func pairedPOS(certs []*x509.Certificate) []paired {
	all := []paired{}
	for _, c := range certs {
		if id, ok := pairing.POSID(c); ok {
			all = append(all, paired{id, describe(c)})
		}
	}
	slices.SortFunc(all, func(a, b paired) int {
		return cmp.Or(cmp.Compare(a.POSID, b.POSID), b.Certificate.NotBefore.Compare(a.Certificate.NotBefore))
	})
	return all
}

func printPaired(w io.Writer, all []paired) {
	if len(all) == 0 {
		fmt.Fprintln(w, "no POS")
		return
	}
	var rows [][]string
	for _, p := range all {
		c := p.Certificate
		rows = append(rows, []string{cell(p.POSID), date(c.NotBefore), date(c.NotAfter), c.Key, cell(c.Issuer), c.Serial})
	}
	table(w, "POS|SINCE|UNTIL|KEY|ISSUED BY|SERIAL", rows)
}

func (a *app) pairingList() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "list the paired POS",
		Long: `list shows the POS that are paired: those with a certificate on the token that a
pairing CA of this token has issued. There are two of one POS while a renewed
certificate has not been used yet.

JSON: an array of ` + pairedHelp,
		Args:              takes(),
		ValidArgsFunction: completes(),
		RunE: a.does(func(ctx context.Context, _ []string) error {
			return a.withPaired(ctx, func(_ *hsm.Token, trust *truststore.Store) error {
				all := pairedPOS((&truststore.Clients{Store: trust}).Clients())
				return a.show(all, func(w io.Writer) { printPaired(w, all) })
			})
		}),
	}
}

func (a *app) pairingRevoke() *cobra.Command {
	return &cobra.Command{
		Use:   "revoke POSID",
		Short: "do not let a POS connect any more",
		Long: `revoke takes the certificates of a POS from the list of those that are paired. A
terminal that is running notices within five seconds, and refuses the POS from then on.

JSON: pos_id, and revoked, the number of certificates.`,
		Args:              takes("POSID"),
		ValidArgsFunction: completes(),
		RunE: a.does(func(ctx context.Context, args []string) error {
			return a.withPaired(ctx, func(_ *hsm.Token, trust *truststore.Store) error {
				return a.revoke(ctx, &truststore.Clients{Store: trust}, args[0])
			})
		}),
	}
}

// revoke needs no CA that could still issue.
func (a *app) revoke(ctx context.Context, list pairing.Registry, posID string) error {
	v := struct {
		POSID   string `json:"pos_id"`
		Revoked int    `json:"revoked"`
	}{POSID: posID}
	for _, c := range list.Clients() {
		if id, ok := pairing.POSID(c); !ok || id != posID {
			continue
		}
		if err := list.Remove(ctx, c); err != nil {
			return err
		}
		v.Revoked++
	}
	if v.Revoked == 0 {
		return fmt.Errorf("%w: %q", pairing.ErrUnknown, posID)
	}
	return a.did(v, "revoked POS %s", cell(posID))
}

// withPaired opens the trust store with the POS in it that are paired.
func (a *app) withPaired(ctx context.Context, f func(*hsm.Token, *truststore.Store) error) error {
	anchors, err := a.anchors()
	if err != nil {
		return err
	}
	return a.withToken(ctx, func(tok *hsm.Token) error {
		if err := addPairingRoots(ctx, keystore.New(tok), &anchors); err != nil {
			return err
		}
		trust, err := truststore.Open(ctx, tok, truststore.Config{Anchors: anchors})
		if err != nil {
			return err
		}
		return f(tok, trust)
	})
}

// addPairingRoots adds the roots of the CAs whose keys are on the token. What
// hangs of them alone can be nothing but a POS.
func addPairingRoots(ctx context.Context, keys *keystore.Store, anchors *truststore.Anchors) error {
	infos, err := keys.Identities(ctx)
	if err != nil {
		return err
	}
	named := slices.Concat(anchors.Acquirer, anchors.Vendor)
	for _, info := range infos {
		if info.Problem != nil || len(info.Chain) == 0 || !info.Chain[0].IsCA {
			continue
		}
		i, err := keys.Identity(ctx, info.Alias) // proves that the key is there
		if err != nil {
			return err
		}
		chain, ok := complete(i.Chain, named)
		if root := chain[len(chain)-1]; ok && !slices.ContainsFunc(slices.Concat(named, anchors.Pairing), root.Equal) {
			anchors.Pairing = append(anchors.Pairing, root)
		}
	}
	return nil
}

// errNoAuthority is a certificate that cannot issue others.
var errNoAuthority = errors.New("not the certificate of a pairing CA")

// issuer returns the pairing CA with an alias.
func issuer(ctx context.Context, keys *keystore.Store, alias string, named []*x509.Certificate) (*pairing.Issuer, error) {
	i, err := keys.Identity(ctx, alias)
	if err != nil {
		return nil, err
	}
	if !i.Chain[0].IsCA {
		return nil, fmt.Errorf("certificate %q: %w", alias, errNoAuthority)
	}
	chain, ok := complete(i.Chain, named)
	if !ok {
		return nil, fmt.Errorf("certificate %q: %w", alias, errRootless)
	}
	ca := &pairing.Issuer{Key: i.Key, Chain: chain}
	return ca, prove(ca)
}
