// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/truststore"
)

func (a *app) anchorCommand() *cobra.Command {
	c := group("anchor", "keep the roots of acquirer and vendor on the token, as its security officer",
		a.anchorAdd(), a.anchorList(), a.anchorRemove())
	c.Long = `Roots can lie in files (--acquirer-root, --vendor-root) or on the token, where only
the security officer can write them (CKA_TRUSTED). --token-anchors makes the other
commands use those on the token too.

An owner root decides about the others: once it is on the token, only roots that it
has signed can be added, and it can only be replaced by one that it has signed.`
	return c
}

// An anchor is what is shown of a root on the token. JSON has these fields.
type anchor struct {
	Kind        string      `json:"kind"` // "owner", "acquirer", "vendor", "pairing"
	Certificate certificate `json:"certificate"`
}

// anchorKinds are the values of --kind, and anchorKindsHelp says so.
var anchorKinds = []truststore.AnchorKind{truststore.OwnerAnchor, truststore.AcquirerAnchor, truststore.VendorAnchor, truststore.PairingAnchor}

const anchorKindsHelp = "owner, acquirer, vendor or pairing"

func (a *app) anchorAdd() *cobra.Command {
	var kind, soPINFile, proof string
	c := &cobra.Command{
		Use:   "add ROOT.pem",
		Short: "write a root to the token as its security officer",
		Long: `add writes a root with the mark of the security officer. The root may sign certificates
and CRLs and do nothing else, and must be signed by the owner root if the token has
one: itself, or by a certificate for the same subject and key that --proof gives. An
owner root that the present one has signed takes its place.

JSON: kind; certificate with
` + certificateHelp + ".",
		Example:           "  hsmtls anchor add acquirer-root.pem --kind acquirer --so-pin-file so-pin",
		Args:              takes("ROOT.pem"),
		ValidArgsFunction: completes(certificateFiles),
		RunE: a.does(func(ctx context.Context, args []string) error {
			if !slices.Contains(anchorKinds, truststore.AnchorKind(kind)) {
				return usagef("invalid argument %q for --kind: it is %s", kind, anchorKindsHelp)
			}
			return a.addAnchor(ctx, args[0], truststore.AnchorKind(kind), proof, soPINFile)
		}),
	}
	c.Flags().StringVar(&kind, "kind", "", "`KIND` of root, by whose it is: "+anchorKindsHelp)
	c.Flags().StringVar(&proof, "proof", "", "`FILE` with a certificate of the same subject and key that the owner root has signed")
	c.Flags().StringVar(&soPINFile, "so-pin-file", "", "`FILE` with the PIN of the security officer; asked for if missing")
	mustHave(c, "kind")
	return c
}

func (a *app) addAnchor(ctx context.Context, path string, kind truststore.AnchorKind, proof, soPINFile string) error {
	cfg, err := a.config()
	if err != nil {
		return err
	}
	r := truststore.AnchorRequest{Kind: kind}
	if r.Certificate, err = a.readCertificate(path); err != nil {
		return err
	}
	if proof != "" {
		if r.Proof, err = a.readCertificate(proof); err != nil {
			return err
		}
	}
	if err := truststore.AddAnchor(ctx, cfg, officerPIN(soPINFile), r); err != nil {
		return err
	}
	d := anchor{string(kind), describe(r.Certificate)}
	return a.did(d, "added %s root %s, sha256 %s", d.Kind, cell(d.Certificate.Subject), d.Certificate.Fingerprint)
}

// officerPIN is the PIN of the security officer, from a file or asked for.
func officerPIN(path string) hsm.PIN {
	if path == "" {
		return hsm.PINPrompt("PIN of the security officer: ")
	}
	return hsm.PINFile(path)
}

func (a *app) anchorList() *cobra.Command {
	return &cobra.Command{
		Use:               "list",
		Short:             "list the roots on the token",
		Long:              "list shows the roots that the security officer has written, and warns of what\nclaims to be one and is not.\n\nJSON: an array of kind; certificate with\n" + certificateHelp + ".",
		Args:              takes(),
		ValidArgsFunction: completes(),
		RunE: a.does(func(ctx context.Context, _ []string) error {
			return a.withToken(ctx, func(tok *hsm.Token) error { return a.listAnchors(ctx, tok) })
		}),
	}
}

func (a *app) listAnchors(ctx context.Context, tok *hsm.Token) error {
	found, rejected, err := truststore.ReadAnchors(ctx, tok)
	if err != nil {
		return err
	}
	for _, r := range rejected {
		a.warn("certificate %s is no anchor: %v", cell(r.Label), r.Err)
	}
	all := []anchor{}
	for _, f := range found {
		all = append(all, anchor{string(f.Kind), describe(f.Certificate)})
	}
	slices.SortFunc(all, func(x, y anchor) int {
		return strings.Compare(x.Kind+x.Certificate.Subject, y.Kind+y.Certificate.Subject)
	})
	return a.show(all, func(w io.Writer) { printAnchors(w, all) })
}

func printAnchors(w io.Writer, all []anchor) {
	if len(all) == 0 {
		fmt.Fprintln(w, "no anchors")
		return
	}
	var rows [][]string
	for _, d := range all {
		rows = append(rows, []string{d.Kind, cell(d.Certificate.Subject), date(d.Certificate.NotAfter), d.Certificate.Fingerprint})
	}
	table(w, "KIND|SUBJECT|UNTIL|SHA256", rows)
}

func (a *app) anchorRemove() *cobra.Command {
	var soPINFile string
	c := &cobra.Command{
		Use:               "remove SHA256",
		Short:             "remove a root from the token as its security officer",
		Long:              "remove removes the root with this SHA-256, which list shows. What it alone has\nvouched for is not trusted any more. The owner root cannot be removed.\n\nJSON: sha256.",
		Args:              takes("SHA256"),
		ValidArgsFunction: completes(),
		RunE: a.does(func(ctx context.Context, args []string) error {
			return a.removeAnchor(ctx, args[0], officerPIN(soPINFile))
		}),
	}
	c.Flags().StringVar(&soPINFile, "so-pin-file", "", "`FILE` with the PIN of the security officer; asked for if missing")
	return c
}

func (a *app) removeAnchor(ctx context.Context, digits string, soPIN hsm.PIN) error {
	fingerprint, err := parseFingerprint(digits)
	if err != nil {
		return &usageError{err}
	}
	cfg, err := a.config()
	if err != nil {
		return err
	}
	if err := truststore.RemoveAnchor(ctx, cfg, soPIN, fingerprint); err != nil {
		return err
	}
	removed := struct {
		Fingerprint string `json:"sha256"`
	}{hex.EncodeToString(fingerprint[:])}
	return a.did(removed, "removed root %s", removed.Fingerprint)
}

// parseFingerprint reads a SHA-256 as this command prints it, or with the colons
// of openssl.
func parseFingerprint(digits string) (sum [32]byte, err error) {
	b, err := hex.DecodeString(strings.ReplaceAll(digits, ":", ""))
	if err != nil || len(b) != len(sum) {
		return sum, fmt.Errorf("%q is not a SHA-256 of 64 hexadecimal digits", digits)
	}
	return [32]byte(b), nil
}
