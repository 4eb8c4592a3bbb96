// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/truststore"
)

var errNoCRL = errors.New("not a CRL, neither PEM nor DER")

// crlFiles are the extensions of files with a CRL.
var crlFiles = []string{"crl", "pem", "der"}

// crlPolicies are the words for truststore.CRLPolicy.
var crlPolicies = map[string]truststore.CRLPolicy{
	"warn": truststore.UseStaleCRL, "refuse": truststore.RefuseStaleCRL, "require": truststore.RequireCRL,
}

func (a *app) crlPolicy() (truststore.CRLPolicy, error) {
	p, ok := crlPolicies[a.globals.crlPolicy]
	if !ok {
		return 0, usagef("invalid argument %q for --crl-policy: it is warn, refuse or require", a.globals.crlPolicy)
	}
	return p, nil
}

// openTrust reads the trust store and warns of CRLs that are not in order.
func (a *app) openTrust(ctx context.Context, tok *hsm.Token, anchors truststore.Anchors) (*truststore.Store, error) {
	policy, err := a.crlPolicy()
	if err != nil {
		return nil, err
	}
	store, err := truststore.Open(ctx, tok, truststore.Config{Anchors: anchors, TokenAnchors: a.globals.tokenAnchors, CRLs: policy})
	if err != nil {
		return nil, err
	}
	for _, c := range store.CRLs() {
		if c.Err != nil {
			a.warn("CRL %s of %s: %v", c.ID, c.Issuer, c.Err)
		}
	}
	return store, nil
}

func (a *app) crlCommand() *cobra.Command {
	return group("crl", "keep the revocation lists of CAs: inject, list and remove CRLs",
		a.crlInject(), a.crlList(), a.crlRemove())
}

// A crl is what is shown of one. JSON has these fields.
type crl struct {
	ID         string     `json:"id"`
	Issuer     string     `json:"issuer"`
	Number     string     `json:"number"`
	ThisUpdate *time.Time `json:"this_update"` // null if the CRL is missing
	NextUpdate *time.Time `json:"next_update"`
	Revoked    int        `json:"revoked"`
	Private    bool       `json:"private"`
	Problem    string     `json:"problem"` // empty if there is none
}

const crlHelp = "id (of the issuer), issuer, number, this_update, next_update,\nrevoked (how many), private, problem"

func describeCRL(c truststore.CRL) crl {
	d := crl{ID: c.ID, Issuer: c.Issuer, Revoked: c.Revoked, Private: c.Private, Problem: problem(c.Err)}
	if c.Number != nil {
		d.Number = c.Number.String()
	}
	if !c.NextUpdate.IsZero() {
		this, next := c.ThisUpdate.UTC(), c.NextUpdate.UTC()
		d.ThisUpdate, d.NextUpdate = &this, &next
	}
	return d
}

func (c crl) row() []string {
	until := "-"
	if c.NextUpdate != nil {
		until = c.NextUpdate.Format(time.RFC3339)
	}
	return []string{c.ID, cell(c.Issuer), cell(c.Number), strconv.Itoa(c.Revoked), until, cell(c.Problem)}
}

func (a *app) crlInject() *cobra.Command {
	return &cobra.Command{
		Use:   "inject FILE",
		Short: "put the CRL of a root or CA on the token",
		Long: `inject verifies a CRL and keeps it on the token, in the place of the one of the same
issuer. The issuer is a root named by --acquirer-root or --vendor-root, or a CA that the
trust store knows. FILE has one complete CRL in PEM or DER; "-" is standard input. A
delta CRL, an indirect one, one about a part of its issuer's certificates, and one with
a number lower than before are refused.

What it revokes is not trusted from then on: ` + "`hsmtls trust list`" + ` shows it.

JSON: ` + crlHelp + ".",
		Example:           "  hsmtls crl inject acquirer.crl --acquirer-root acquirer-root.pem",
		Args:              takes("FILE"),
		ValidArgsFunction: completes(crlFiles),
		RunE: a.does(func(ctx context.Context, args []string) error {
			list, err := a.readCRL(args[0])
			if err != nil {
				return err
			}
			return a.withTrust(ctx, func(_ *hsm.Token, store *truststore.Store) error {
				injected, err := store.InjectCRL(ctx, list)
				if err != nil {
					return err
				}
				c := describeCRL(injected)
				if injected.Err != nil {
					a.warn("CRL %s of %s: %v", c.ID, c.Issuer, injected.Err)
				}
				return a.did(c, "injected CRL %s of %s: number %s, %s", c.ID, cell(c.Issuer), c.Number,
					count(c.Revoked, "certificate is revoked", "certificates are revoked"))
			})
		}),
	}
}

// readCRL reads a file with one CRL and nothing else.
func (a *app) readCRL(path string) (*x509.RevocationList, error) {
	in := a.stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, 2*truststore.MaxCRLSize)) // PEM is a third longer
	if err != nil {
		return nil, err
	}
	if bytes.Contains(data, pemBegin) {
		block, rest := pem.Decode(data)
		if block == nil || block.Type != "X509 CRL" || len(bytes.TrimSpace(rest)) > 0 {
			return nil, fmt.Errorf("%s: %w", path, errNoCRL)
		}
		data = block.Bytes
	}
	list, err := x509.ParseRevocationList(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", path, errNoCRL, err)
	}
	list.Raw = data // what follows the CRL is refused, not cut off
	return list, nil
}

func (a *app) crlList() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "list the CRLs and the deny-list",
		Long: `list shows the CRLs in the store, those that have been there and are missing, and the
deny-list.

JSON: crls (` + crlHelp + `), denied (sha256, subject, reason, at, problem).`,
		Args:              takes(),
		ValidArgsFunction: completes(),
		RunE: a.does(func(ctx context.Context, _ []string) error {
			return a.withTrust(ctx, func(_ *hsm.Token, store *truststore.Store) error {
				v := struct {
					CRLs   []crl    `json:"crls"`
					Denied []denial `json:"denied"`
				}{[]crl{}, denials(store)}
				for _, c := range store.CRLs() {
					v.CRLs = append(v.CRLs, describeCRL(c))
				}
				return a.show(v, func(w io.Writer) {
					printCRLs(w, v.CRLs)
					printDenials(w, v.Denied)
				})
			})
		}),
	}
}

func printCRLs(w io.Writer, all []crl) {
	if len(all) == 0 {
		fmt.Fprintln(w, "no CRLs")
		return
	}
	var rows [][]string
	for _, c := range all {
		rows = append(rows, c.row())
	}
	table(w, "ID|ISSUER|NUMBER|REVOKED|NEXT UPDATE|PROBLEM", rows)
}

func (a *app) crlRemove() *cobra.Command {
	return &cobra.Command{
		Use:   "remove ID",
		Short: "remove the CRL of an issuer, by its id in crl list",
		Long: `remove removes a CRL from the token, or the record of one that is missing. What it
revokes is trusted again. Its number is kept, so that no older CRL is taken afterwards.

JSON: id.`,
		Args:              takes("ID"),
		ValidArgsFunction: completes(),
		RunE: a.does(func(ctx context.Context, args []string) error {
			return a.withTrust(ctx, func(_ *hsm.Token, store *truststore.Store) error {
				if err := store.RemoveCRL(ctx, args[0]); err != nil {
					return err
				}
				return a.did(struct {
					ID string `json:"id"`
				}{args[0]}, "removed CRL %s", cell(args[0]))
			})
		}),
	}
}
