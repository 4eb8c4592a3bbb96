// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/truststore"
)

// A denial is what is shown of a certificate on the deny-list. JSON has these
// fields.
type denial struct {
	Fingerprint string    `json:"sha256"`
	Subject     string    `json:"subject"`
	Reason      string    `json:"reason"`
	At          time.Time `json:"at"`
	Problem     string    `json:"problem"` // empty if there is none
}

func denials(store *truststore.Store) []denial {
	all := []denial{}
	for _, d := range store.Denied() {
		all = append(all, denial{fmt.Sprintf("%x", d.Fingerprint), d.Subject, d.Reason, d.At.UTC(), problem(d.Err)})
	}
	return all
}

func printDenials(w io.Writer, all []denial) {
	if len(all) == 0 {
		return
	}
	var rows [][]string
	for _, d := range all {
		rows = append(rows, []string{d.Fingerprint, cell(d.Subject), d.At.Format(time.RFC3339), cell(d.Reason)})
	}
	fmt.Fprintln(w, "\ndeny-list:")
	table(w, "SHA256|SUBJECT|SINCE|REASON", rows)
}

// printRevoked shows what is on the token and not trusted because it is revoked,
// and the deny-list.
func printRevoked(w io.Writer, store *truststore.Store) {
	var rows [][]string
	for _, r := range store.Rejected() {
		var revoked *truststore.RevokedError
		if errors.As(r.Err, &revoked) {
			d := describeRejected(r)
			rows = append(rows, []string{cell(d.Label), cell(d.subject()), cell(problem(revoked))})
		}
	}
	if len(rows) > 0 {
		fmt.Fprintln(w, "\nrevoked:")
		table(w, "LABEL|SUBJECT|REASON", rows)
	}
	printDenials(w, denials(store))
}

func (a *app) trustRevoke() *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use:   "revoke FINGERPRINT|ALIAS|FILE",
		Short: "put a certificate on the deny-list of the token",
		Long: `revoke refuses a certificate from now on, whoever has signed it: a server, a client, a
CA with everything below it, or a root. It is named by its SHA-256 in hexadecimal digits
(colons are fine), by the alias of an entry, or by a file with it.

JSON: sha256, reason.`,
		Example:           "  hsmtls trust revoke host --reason \"stolen on 3 May\"",
		Args:              takes("FINGERPRINT|ALIAS|FILE"),
		ValidArgsFunction: completes(certificateFiles),
		RunE: a.does(func(ctx context.Context, args []string) error {
			return a.withTrust(ctx, func(_ *hsm.Token, store *truststore.Store) error {
				cert, sum, err := a.named(store, args[0])
				if err != nil {
					return err
				}
				if cert != nil {
					err = store.Deny(ctx, cert, reason)
				} else {
					err = store.DenyFingerprint(ctx, sum, reason)
				}
				if err != nil {
					return err
				}
				return a.did(denied{fmt.Sprintf("%x", sum), reason}, "revoked %x", sum)
			})
		}),
	}
	c.Flags().StringVar(&reason, "reason", "", "`TEXT` to show wherever the certificate is refused")
	return c
}

// A denied is a certificate whose place on the deny-list has changed.
type denied struct {
	Fingerprint string `json:"sha256"`
	Reason      string `json:"reason,omitempty"`
}

func (a *app) trustUnrevoke() *cobra.Command {
	return &cobra.Command{
		Use:               "unrevoke FINGERPRINT|ALIAS|FILE",
		Short:             "take a certificate from the deny-list",
		Long:              "unrevoke takes a certificate from the deny-list of the token. What a CRL revokes stays\nrevoked.\n\nJSON: sha256.",
		Args:              takes("FINGERPRINT|ALIAS|FILE"),
		ValidArgsFunction: completes(certificateFiles),
		RunE: a.does(func(ctx context.Context, args []string) error {
			return a.withTrust(ctx, func(_ *hsm.Token, store *truststore.Store) error {
				_, sum, err := a.named(store, args[0])
				if err != nil {
					return err
				}
				err = store.Allow(ctx, sum)
				if errors.Is(err, truststore.ErrNotFound) {
					return fmt.Errorf("%w: %x is not on the deny-list", truststore.ErrNotFound, sum)
				}
				if err != nil {
					return err
				}
				return a.did(denied{Fingerprint: fmt.Sprintf("%x", sum)}, "took %x from the deny-list", sum)
			})
		}),
	}
}

// named finds what a person calls a certificate. It is nil if only its fingerprint
// is known.
func (a *app) named(store *truststore.Store, name string) (*x509.Certificate, [sha256.Size]byte, error) {
	if sum, err := parseFingerprint(name); err == nil {
		return nil, sum, nil
	}
	for _, e := range store.Entries() {
		if e.Alias == name {
			return e.Certificate, sha256.Sum256(e.Certificate.Raw), nil
		}
	}
	for _, r := range store.Rejected() {
		if r.Label == name && r.Certificate != nil {
			return r.Certificate, sha256.Sum256(r.Certificate.Raw), nil
		}
	}
	cert, err := a.readLeaf(name)
	if err != nil {
		return nil, [sha256.Size]byte{}, fmt.Errorf("%q is no fingerprint, no alias and no certificate: %w", name, err)
	}
	return cert, sha256.Sum256(cert.Raw), nil
}

// readLeaf reads the first certificate of a file: the one a chain is about.
func (a *app) readLeaf(path string) (*x509.Certificate, error) {
	chain, err := a.readCertificates(path)
	if err != nil {
		return nil, err
	}
	return chain[0], nil
}
