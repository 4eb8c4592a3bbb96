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
	"time"

	"github.com/spf13/cobra"

	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/keystore"
	"github.com/hsmtls/hsmtls-go/pairing"
	"github.com/hsmtls/hsmtls-go/truststore"
)

func (a *app) pairingCommand() *cobra.Command {
	return group("pairing", "make the CA that vouches for POS, list paired POS and revoke them",
		a.pairingInit(), a.pairingList(), a.pairingRevoke(), a.pairingPrune())
}

// A paired is what is shown of a POS. JSON has these fields.
type paired struct {
	POSID       string      `json:"pos_id"`
	State       string      `json:"state"`
	Certificate certificate `json:"certificate"`
}

// The states of a POS.
const (
	stateGood     = "good"
	stateExpiring = "expiring" // within pairing.RenewalTime
	stateExpired  = "expired"
)

const pairedHelp = "pos_id, state (good, expiring, expired), certificate; in a certificate\n" + certificateHelp + "."

// describePOS are the POS of a list, and of those that were on it.
func describePOS(good, expired []pairing.POS) []paired {
	all, now := []paired{}, time.Now()
	for _, p := range good {
		state := stateGood
		if expiresSoon(p.Certificate, now) {
			state = stateExpiring
		}
		all = append(all, paired{p.ID, state, describe(p.Certificate)})
	}
	for _, p := range expired {
		all = append(all, paired{p.ID, stateExpired, describe(p.Certificate)})
	}
	slices.SortStableFunc(all, func(a, b paired) int { return cmp.Compare(a.POSID, b.POSID) })
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
		rows = append(rows, []string{cell(p.POSID), p.State, date(c.NotBefore), date(c.NotAfter), c.Key, cell(c.Issuer), c.Serial})
	}
	table(w, "POS|STATE|SINCE|UNTIL|KEY|ISSUED BY|SERIAL", rows)
}

func (a *app) pairingList() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "list the paired POS",
		Long: `list shows the POS that are paired: those with a certificate on the token that a
pairing CA of this token has issued. There are two of one POS while a renewed
certificate has not been used yet. Those whose certificate has expired are not trusted
any more, and are shown until they pair again or are removed.

JSON: an array of ` + pairedHelp,
		Args:              takes(),
		ValidArgsFunction: completes(),
		RunE: a.does(func(ctx context.Context, _ []string) error {
			return a.withPaired(ctx, func(_ *hsm.Token, trust *truststore.Store) error {
				t := listOf(trust)
				all := describePOS(t.List(), t.Expired())
				return a.show(all, func(w io.Writer) { printPaired(w, all) })
			})
		}),
	}
}

// listOf is a terminal that has a list and does not serve.
func listOf(trust *truststore.Store) *pairing.Terminal {
	return &pairing.Terminal{Registry: &truststore.Clients{Store: trust}}
}

func (a *app) pairingRevoke() *cobra.Command {
	return &cobra.Command{
		Use:   "revoke POSID",
		Short: "do not let a POS connect any more",
		Long: `revoke takes the certificates of a POS from the list of those that are paired, expired
ones too. A terminal that is running notices when it looks at the token again, within a
minute or what its --refresh says, and at once with SIGHUP. It closes the connections of
the POS then, and refuses it from then on.

JSON: pos_id, and revoked, the number of certificates.`,
		Args:              takes("POSID"),
		ValidArgsFunction: completes(),
		RunE: a.does(func(ctx context.Context, args []string) error {
			return a.withPaired(ctx, func(_ *hsm.Token, trust *truststore.Store) error {
				return a.revoke(ctx, listOf(trust), args[0])
			})
		}),
	}
}

// revoke needs no CA that could still issue.
func (a *app) revoke(ctx context.Context, t *pairing.Terminal, posID string) error {
	v := struct {
		POSID   string `json:"pos_id"`
		Revoked int    `json:"revoked"`
	}{POSID: posID}
	for _, p := range slices.Concat(t.List(), t.Expired()) {
		if p.ID == posID {
			v.Revoked++
		}
	}
	if err := t.Revoke(ctx, posID); err != nil {
		return fmt.Errorf("%w: %q", err, posID)
	}
	return a.did(v, "revoked POS %s", cell(posID))
}

func (a *app) pairingPrune() *cobra.Command {
	return &cobra.Command{
		Use:   "prune",
		Short: "remove the certificates of POS that have expired",
		Long: `prune removes the certificates of POS that have expired from the token. They are not
trusted any more in any case. No program does this on its own: a clock that is wrong for
a moment would cost every POS its pairing.

JSON: pruned, the number of certificates.`,
		Args:              takes(),
		ValidArgsFunction: completes(),
		RunE: a.does(func(ctx context.Context, _ []string) error {
			return a.withPaired(ctx, func(_ *hsm.Token, trust *truststore.Store) error {
				return a.prune(ctx, listOf(trust))
			})
		}),
	}
}

func (a *app) prune(ctx context.Context, t *pairing.Terminal) error {
	n, err := t.Prune(ctx)
	if err != nil {
		return err
	}
	v := struct {
		Pruned int `json:"pruned"`
	}{n}
	return a.did(v, "removed %s", count(n, "expired certificate", "expired certificates"))
}

// withPaired opens the trust store with the POS in it that are paired. The root of
// a pairing CA on the token is enough of a root.
func (a *app) withPaired(ctx context.Context, f func(*hsm.Token, *truststore.Store) error) error {
	anchors, err := a.anchors()
	if err != nil && !errors.Is(err, errNoRoots) {
		return err
	}
	return a.withToken(ctx, func(tok *hsm.Token) error {
		if err := addPairingRoots(ctx, keystore.New(tok), &anchors); err != nil {
			return err
		}
		if len(anchors.Acquirer)+len(anchors.Vendor)+len(anchors.Pairing) == 0 {
			return errNoCA
		}
		trust, err := a.openTrust(ctx, tok, anchors)
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
		if info.Problem != nil && !isDate(info.Problem) || len(info.Chain) == 0 || !info.Chain[0].IsCA {
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

// isDate finds a CA that has expired: what it has issued is still to be listed.
func isDate(err error) bool {
	var invalid x509.CertificateInvalidError
	return errors.As(err, &invalid) && invalid.Reason == x509.Expired
}

var (
	// errMissingCA is the pairing CA that --pairing-ca names, on a token without it.
	errMissingCA = errors.New("pairing CA is missing")
	// errNoAuthority is a certificate that cannot issue others.
	errNoAuthority = errors.New("not the certificate of a pairing CA")
	// errNoCA is a token with nothing that could vouch for a POS.
	errNoCA = errors.New("no pairing CA with its root is on the token, and no other root is named")
)

// issuer returns the pairing CA with an alias.
func issuer(ctx context.Context, keys *keystore.Store, alias string, named []*x509.Certificate) (*pairing.Issuer, error) {
	i, err := keys.Identity(ctx, alias)
	switch {
	case errors.Is(err, keystore.ErrNotFound):
		return nil, fmt.Errorf("%w: %w", errMissingCA, err)
	case err != nil:
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
