// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/truststore"
)

func (a *app) trustCommand() *cobra.Command {
	return group("trust", "decide whom to trust: inject, list, verify and remove certificates",
		a.trustInject(), a.trustList(), a.trustShow(), a.trustRemove(), a.trustVerify())
}

// An entry is what is shown of one. JSON has these fields.
type entry struct {
	Alias       string        `json:"alias"`
	Usages      []string      `json:"usages"` // "server", "client"
	Certificate certificate   `json:"certificate"`
	Issuers     []certificate `json:"issuers"` // that prove it, the root last
	Private     bool          `json:"private"` // whether the token shows and changes it after login only
}

const entryHelp = `alias, usages (server, client), certificate, issuers, private;
in a certificate or issuer
` + certificateHelp + "."

func describeEntry(e truststore.Entry) entry {
	d := entry{
		Alias:       e.Alias,
		Usages:      []string{},
		Certificate: describe(e.Certificate),
		Issuers:     describeAll(e.Issuers),
		Private:     e.Private,
	}
	for _, u := range e.Usages {
		d.Usages = append(d.Usages, usageWord(u))
	}
	return d
}

func (e entry) row() []string {
	kind := joined(e.Usages)
	if len(e.Certificate.Usages) > 0 && e.Certificate.Usages[0] == "ca" {
		kind = "CA for " + kind
	}
	return []string{cell(e.Alias), kind, cell(e.Certificate.Subject), date(e.Certificate.NotAfter), cell(e.root())}
}

// root names who vouches for the entry in the end.
func (e entry) root() string {
	if len(e.Issuers) == 0 {
		return e.Certificate.Subject
	}
	return e.Issuers[len(e.Issuers)-1].Subject
}

const entryHeader = "ALIAS|FOR|SUBJECT|UNTIL|SIGNED BELOW"

func entries(store *truststore.Store) []entry {
	all := []entry{}
	for _, e := range store.Entries() {
		all = append(all, describeEntry(e))
	}
	return all
}

func printEntries(w io.Writer, all []entry) {
	if len(all) == 0 {
		fmt.Fprintln(w, "no entries")
		return
	}
	var rows [][]string
	for _, e := range all {
		rows = append(rows, e.row())
	}
	table(w, entryHeader, rows)
}

func (a *app) trustInject() *cobra.Command {
	var issuers string
	c := &cobra.Command{
		Use:   "inject ALIAS CERT.pem",
		Short: "trust a certificate that the acquirer or the vendor has signed",
		Long: `inject makes a certificate a trusted entry: that of a server, of a client, or of a CA
whose servers and clients are then trusted. It is written only if a root named by
--acquirer-root or --vendor-root has signed it, itself or through the certificates
in --issuers, and if it meets the certificate profile. CERT.pem has this one
certificate; "-" is standard input.

JSON: ` + entryHelp,
		Example:           "  hsmtls trust inject host host.pem --acquirer-root acquirer-root.pem",
		Args:              takes("ALIAS", "CERT.pem"),
		ValidArgsFunction: completes(nil, certificateFiles),
		RunE: a.does(func(ctx context.Context, args []string) error {
			chain, err := a.readEntry(args[1], issuers)
			if err != nil {
				return err
			}
			return a.withTrust(ctx, func(_ *hsm.Token, store *truststore.Store) error {
				injected, err := store.Inject(ctx, args[0], chain...)
				if err != nil {
					return err
				}
				e := describeEntry(injected)
				return a.did(e, "injected trusted entry %s for %s: %s, signed below %s",
					cell(e.Alias), joined(e.Usages), cell(e.Certificate.Subject), cell(e.root()))
			})
		}),
	}
	c.Flags().StringVar(&issuers, "issuers", "", "`FILE` with the certificates between this one and the root")
	return c
}

// readEntry reads the certificate to trust and what is needed to prove it.
func (a *app) readEntry(path, issuersPath string) ([]*x509.Certificate, error) {
	cert, err := a.readCertificate(path)
	if err != nil || issuersPath == "" {
		return []*x509.Certificate{cert}, err
	}
	issuers, err := a.readCertificates(issuersPath)
	return append([]*x509.Certificate{cert}, issuers...), err
}

func (a *app) trustList() *cobra.Command {
	return &cobra.Command{
		Use:               "list",
		Short:             "list the trusted entries",
		Long:              "list shows the entries that are trusted. All are verified first; how many are not\ntrusted, and are not shown, is said on standard error.\n\nJSON: an array of " + entryHelp,
		Args:              takes(),
		ValidArgsFunction: completes(),
		RunE: a.does(func(ctx context.Context, _ []string) error {
			return a.withTrust(ctx, func(_ *hsm.Token, store *truststore.Store) error {
				if n := len(store.Rejected()); n > 0 {
					a.warn("%s on the token not trusted: hsmtls trust verify says why", count(n, "certificate is", "certificates are"))
				}
				all := entries(store)
				return a.show(all, func(w io.Writer) { printEntries(w, all) })
			})
		}),
	}
}

func (a *app) trustRemove() *cobra.Command {
	return &cobra.Command{
		Use:               "remove ALIAS",
		Short:             "stop trusting an entry",
		Long:              "remove removes an entry from the token, also one that is not trusted any more.\n\nJSON: alias.",
		Args:              takes("ALIAS"),
		ValidArgsFunction: completes(),
		RunE: a.does(func(ctx context.Context, args []string) error {
			return a.withTrust(ctx, func(_ *hsm.Token, store *truststore.Store) error {
				if err := store.Remove(ctx, args[0]); err != nil {
					return err
				}
				return a.did(aliasName{args[0]}, "removed trusted entry %s", cell(args[0]))
			})
		}),
	}
}

// count is a number with its noun and verb.
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
