// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/truststore"
)

// errRejected is for a token with certificates that are not trusted.
var errRejected = errors.New("not everything on the token is trusted")

// A rejected is a certificate that is not trusted. JSON has these fields.
type rejected struct {
	Label       string       `json:"label"`
	ID          string       `json:"id"`          // CKA_ID, hexadecimal
	Certificate *certificate `json:"certificate"` // null if it cannot be read
	Reason      string       `json:"reason"`
}

func describeRejected(r truststore.Rejected) rejected {
	d := rejected{Label: r.Label, ID: fmt.Sprintf("%x", r.ID), Reason: problem(r.Err)}
	if r.Certificate != nil {
		c := describe(r.Certificate)
		d.Certificate = &c
	}
	return d
}

func (r rejected) subject() string {
	if r.Certificate == nil {
		return ""
	}
	return r.Certificate.Subject
}

func allRejected(store *truststore.Store) []rejected {
	all := []rejected{}
	for _, r := range store.Rejected() {
		all = append(all, describeRejected(r))
	}
	return all
}

func (a *app) trustShow() *cobra.Command {
	return &cobra.Command{
		Use:               "show ALIAS",
		Short:             "describe a trusted entry and what proves it",
		Long:              "show describes a trusted entry and the certificates that prove it, the root last.\n\nJSON: " + entryHelp,
		Args:              takes("ALIAS"),
		ValidArgsFunction: completes(),
		RunE: a.does(func(ctx context.Context, args []string) error {
			return a.withTrust(ctx, func(_ *hsm.Token, store *truststore.Store) error {
				return a.showEntry(store, args[0])
			})
		}),
	}
}

// showEntry says of an entry that is not trusted why it is not.
func (a *app) showEntry(store *truststore.Store, alias string) error {
	for _, e := range entries(store) {
		if e.Alias == alias {
			return a.show(e, e.print)
		}
	}
	for _, r := range store.Rejected() {
		if r.Label == alias {
			return fmt.Errorf("%q: %w: %w", alias, errRejected, r.Err)
		}
	}
	return fmt.Errorf("%q: %w", alias, truststore.ErrNotFound)
}

func (e entry) print(w io.Writer) {
	private := "only after login"
	if !e.Private {
		private = "by anybody, without a PIN"
	}
	fields(w, "alias", cell(e.Alias), "for", joined(e.Usages), "can be removed", private)
	fmt.Fprintln(w)
	e.Certificate.print(w)
	for n, c := range e.Issuers {
		fmt.Fprintf(w, "\nissuer %d of %d\n", n+1, len(e.Issuers))
		c.print(w)
	}
	for n, c := range e.Endorsers {
		fmt.Fprintf(w, "\nendorser %d of %d\n", n+1, len(e.Endorsers))
		c.print(w)
	}
}

// A verification is the flags of trust verify.
type verification struct {
	name   string
	client bool
}

func (a *app) trustVerify() *cobra.Command {
	var v verification
	c := &cobra.Command{
		Use:   "verify [CHAIN.pem]",
		Short: "verify the trusted entries, or a chain against them",
		Long: `verify without a file verifies every certificate on the token again and shows what is
trusted and what is not, with the reasons. The exit status is 1 if anything is not.

With a file it judges what is in there as dial judges a server, or as serve judges a
client with --client: the certificate of the peer first, then what the peer sends with
it. --name is the name or IP address that the server has to prove.

JSON without a file: entries (as of trust list), rejected (label, id, certificate,
reason). JSON with a file: chain, from the certificate to the entry that makes it
trusted.`,
		Example:           "  hsmtls trust verify\n  hsmtls trust verify host.pem --name host.acquirer.example",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completes(certificateFiles),
		RunE: a.does(func(ctx context.Context, args []string) error {
			if len(args) == 0 {
				if v != (verification{}) {
					return usagef("--name and --client are about a chain: CHAIN.pem is missing")
				}
				return a.withTrust(ctx, func(_ *hsm.Token, store *truststore.Store) error { return a.verifyAll(store) })
			}
			return a.verifyFile(ctx, args[0], v)
		}),
	}
	c.Flags().StringVar(&v.name, "name", "", "`NAME` or address that the server has to prove")
	c.Flags().BoolVar(&v.client, "client", false, "judge a client, not a server")
	c.MarkFlagsMutuallyExclusive("name", "client")
	return c
}

// verifyAll shows what loading the store has found, which is everything.
func (a *app) verifyAll(store *truststore.Store) error {
	v := struct {
		Entries  []entry    `json:"entries"`
		Rejected []rejected `json:"rejected"`
	}{entries(store), allRejected(store)}
	err := a.show(v, func(w io.Writer) {
		printEntries(w, v.Entries)
		if len(v.Rejected) > 0 {
			fmt.Fprintln(w, "\nnot trusted:")
			printRejected(w, v.Rejected)
		}
	})
	if err == nil && len(v.Rejected) > 0 {
		err = fmt.Errorf("%w: %s", errRejected, count(len(v.Rejected), "certificate is not", "certificates are not"))
	}
	return err
}

func printRejected(w io.Writer, all []rejected) {
	var rows [][]string
	for _, r := range all {
		rows = append(rows, []string{cell(r.Label), cell(r.subject()), cell(r.Reason)})
	}
	table(w, "LABEL|SUBJECT|REASON", rows)
}

func (a *app) verifyFile(ctx context.Context, path string, v verification) error {
	chain, err := a.readCertificates(path)
	if err != nil {
		return err
	}
	usage := x509.ExtKeyUsageServerAuth
	if v.client {
		usage = x509.ExtKeyUsageClientAuth
	}
	return a.withTrust(ctx, func(_ *hsm.Token, store *truststore.Store) error {
		accepted, err := store.Verify(chain, v.name, usage, time.Now())
		if err != nil {
			return err
		}
		result := struct {
			Chain []certificate `json:"chain"`
		}{describeAll(accepted)}
		last := accepted[len(accepted)-1]
		return a.did(result, "trusted as a %s: %s, by entry %s", usageWord(usage), cell(chain[0].Subject.String()), cell(entryAlias(store, last)))
	})
}

// entryAlias finds the entry with a certificate.
func entryAlias(store *truststore.Store, c *x509.Certificate) string {
	for _, e := range store.Entries() {
		if e.Certificate.Equal(c) {
			return e.Alias
		}
	}
	return ""
}
