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
		a.trustInject(), a.trustList(), a.trustShow(), a.trustRemove(), a.trustVerify(), a.trustRevoke(), a.trustUnrevoke())
}

// An entry is what is shown of one. JSON has these fields.
type entry struct {
	Alias       string        `json:"alias"`
	Usages      []string      `json:"usages"` // "server", "client"
	Certificate certificate   `json:"certificate"`
	Issuers     []certificate `json:"issuers"`   // that prove it, the root last
	Endorsers   []certificate `json:"endorsers"` // that prove it if it is endorsed, the root last
	Private     bool          `json:"private"`   // whether the token shows and changes it after login only
}

const entryHelp = `alias, usages (server, client), certificate, issuers, endorsers, private;
in a certificate, issuer or endorser
` + certificateHelp + "."

func describeEntry(e truststore.Entry) entry {
	d := entry{
		Alias:       e.Alias,
		Usages:      []string{},
		Certificate: describe(e.Certificate),
		Issuers:     describeAll(e.Issuers),
		Endorsers:   describeAll(e.Endorsers),
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
	if n := len(e.Endorsers); n > 0 {
		return e.Endorsers[n-1].Subject
	}
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
	var issuers, from, endorsement string
	c := &cobra.Command{
		Use:   "inject {ALIAS CERT.pem | --from DIR}",
		Short: "trust a certificate that the acquirer or the vendor has signed",
		Long: `inject makes a certificate a trusted entry: that of a server, of a client, or of a CA
whose servers and clients are then trusted. It is written only if a root named by
--acquirer-root or --vendor-root has signed it, itself or through the certificates
in --issuers, and if it meets the certificate profile. CERT.pem has this one
certificate; "-" is standard input.

The certificate of a server that somebody else has issued, such as a public CA, can be
signed by the acquirer or the vendor for injection: --endorsement takes that signature,
a detached CMS in DER over the certificate in DER, as openssl cms -sign -binary makes it.
Then this certificate is trusted, and no other of its CA.

With --from, every file in a folder is injected whose name ends in .pem, .crt, .cer or
.der; its alias is the name without that. A file may have the issuers behind its
certificate; of those in --issuers each takes what it needs. What was interrupted goes
on when it is begun again. Each file is said to be accepted, already there, or refused
and why; if standard error is a terminal a bar shows how far it is, and only what is
refused is said. The exit status is 1 if a file was refused.

JSON: ` + entryHelp + `
With --from, one object a line: file, alias, verdict (accepted, already, refused), reason.`,
		Example: "  hsmtls trust inject host host.pem --acquirer-root acquirer-root.pem",
		Args: func(c *cobra.Command, args []string) error {
			if from != "" {
				return takes()(c, args)
			}
			return takes("ALIAS", "CERT.pem")(c, args)
		},
		ValidArgsFunction: completes(nil, certificateFiles),
		RunE: a.does(func(ctx context.Context, args []string) error {
			if from != "" {
				return a.injectFrom(ctx, from, issuers)
			}
			return a.injectOne(ctx, args[0], args[1], issuers, endorsement)
		}),
	}
	c.Flags().StringVar(&issuers, "issuers", "", "`FILE` with the certificates between this one and the root")
	c.Flags().StringVar(&endorsement, "endorsement", "", "`FILE` with the acquirer's or vendor's CMS signature over the certificate")
	c.Flags().StringVar(&from, "from", "", "`DIR` of which every certificate is injected")
	c.MarkFlagsMutuallyExclusive("endorsement", "from")
	c.MarkFlagsMutuallyExclusive("endorsement", "issuers")
	_ = c.MarkFlagDirname("from")
	return c
}

// injectOne injects a certificate that its issuers prove, or an endorsement.
func (a *app) injectOne(ctx context.Context, alias, path, issuersPath, endorsementPath string) error {
	chain, err := a.readEntry(path, issuersPath)
	if err != nil {
		return err
	}
	inject := func(store *truststore.Store) (truststore.Entry, error) { return store.Inject(ctx, alias, chain...) }
	if endorsementPath != "" {
		endorsement, err := a.readInput(endorsementPath)
		if err != nil {
			return err
		}
		inject = func(store *truststore.Store) (truststore.Entry, error) {
			return store.InjectEndorsed(ctx, alias, chain[0], endorsement)
		}
	}
	return a.withTrust(ctx, func(_ *hsm.Token, store *truststore.Store) error {
		injected, err := inject(store)
		if err != nil {
			return err
		}
		e := describeEntry(injected)
		return a.did(e, "injected trusted entry %s for %s: %s, signed below %s",
			cell(e.Alias), joined(e.Usages), cell(e.Certificate.Subject), cell(e.root()))
	})
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
		Long:              "list shows the entries that are trusted. All are verified first; how many are not\ntrusted is said on standard error; those of them that are revoked are shown with the\nreason, and so is the deny-list.\n\nJSON, of what is trusted: an array of\n" + entryHelp,
		Args:              takes(),
		ValidArgsFunction: completes(),
		RunE: a.does(func(ctx context.Context, _ []string) error {
			return a.withTrust(ctx, func(_ *hsm.Token, store *truststore.Store) error {
				if n := len(store.Rejected()); n > 0 {
					a.warn("%s on the token not trusted: hsmtls trust verify says why", count(n, "certificate is", "certificates are"))
				}
				all := entries(store)
				return a.show(all, func(w io.Writer) {
					printEntries(w, all)
					printRevoked(w, store)
				})
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
