// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"bufio"
	"cmp"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hsmtls/hsmtls-go/keystore"
	"github.com/hsmtls/hsmtls-go/pairing"
)

// A pairRequest is the flags of pair.
type pairRequest struct {
	link, root, name, posID, code, out string
	csr                                bool

	alias, key, typ string // with a token
}

func (a *app) pairCommand() *cobra.Command {
	var r pairRequest
	c := &cobra.Command{
		Use:   "pair {URL | --link LINK}",
		Short: "pair with a terminal, as a POS",
		Long: `pair sends the setup code that the terminal shows to the terminal, and gets the
certificate with which a POS connects to it from then on. URL is https://HOST:PORT or
wss://HOST:PORT, as the terminal's screen has it. The folder of --out then has

  key.pem    the private key
  chain.pem  its certificate, the pairing CA, and its root
  root.pem   the root of the terminal's certificate

which their owner alone can read. The key is made by the terminal, or with --csr here.
No token is needed for that.

With --alias the POS has a token of its own, and its key is there: KEYALIAS, which is made
if it is not there. The certificate is put on the token under ALIAS, where one for this
key is replaced; key.pem is left out. hsmtls trust inject NAME DIR/root.pem with
--acquirer-root DIR/root.pem then makes the terminal trusted, for hsmtls dial --alias
ALIAS.

--root is the root that hsmtls root export prints, as PEM or JSON, or the fingerprint
(sha256:...) on the terminal's screen. --link is what the QR code there says: it has the
address, the name of the device and the fingerprint in it.

A certificate that will expire within 30 days is warned of; see hsmtls pair renew.

JSON: pos_id, out (the folder), alias (empty without --alias), certificate
` + certificateHelp + ".",
		Example: "  hsmtls pair https://192.0.2.7:8443 --root root.pem --name t-0042.terminals.example \\\n" +
			"    --pos-id till-3 --code 8QW1YS1D --out till-3\n" +
			"  hsmtls pair --link 'https://192.0.2.7:8443/#name=t-0042.terminals.example&root=sha256:9f86...' \\\n" +
			"    --pos-id till-3 --code 8QW1YS1D --out till-3 --alias till",
		Args: takesURLOrLink, ValidArgsFunction: completes(),
		RunE: a.does(func(ctx context.Context, args []string) error {
			return a.pair(ctx, strings.Join(args, ""), r)
		}),
	}
	f := c.Flags()
	linkFlag(c, &r.link, "URL, --name and --root")
	f.StringVar(&r.root, "root", "", "`FILE` with the root of the terminal, or its fingerprint")
	f.StringVar(&r.name, "name", "", "device `NAME` that the terminal has to prove; the host of URL if missing")
	f.StringVar(&r.posID, "pos-id", "", "`ID` of this POS, unique at the terminal")
	f.StringVar(&r.code, "code", "", "setup `CODE` on the terminal's screen; \"-\" reads it from standard input")
	f.BoolVar(&r.csr, "csr", false, "make the key here and ask for its certificate alone")
	f.StringVar(&r.alias, "alias", "", "`ALIAS` for the certificate on the token, if the key is to be there")
	f.StringVar(&r.key, "key", "", "`KEYALIAS` of the key on the token; that of --alias if missing")
	typeFlag(c, &r.typ, "p256", " if it is made on the token")
	f.StringVar(&r.out, "out", "", "`DIR` for the key and the certificates")
	mustHave(c, "pos-id", "code", "out")
	c.MarkFlagsOneRequired("link", "root")
	c.MarkFlagsMutuallyExclusive("csr", "alias")
	_ = c.MarkFlagDirname("out")
	c.AddCommand(a.pairRenew())
	c.SetUsageTemplate(new(cobra.Command).UsageTemplate()) // it does something and leads to another
	return c
}

func (a *app) pair(ctx context.Context, url string, r pairRequest) error {
	client, err := a.pairClient(url, r)
	if err != nil {
		return err
	}
	if err := canSave(r.out); err != nil {
		return err
	}
	request, err := a.pairRequest(r)
	if err != nil {
		return err
	}
	if r.alias != "" {
		return a.withKeys(ctx, func(keys *keystore.Store) error { return a.pairOnToken(ctx, keys, client, request, r) })
	}
	bundle, err := client.Pair(ctx, request)
	if err != nil {
		return err
	}
	if err := bundle.Save(r.out); err != nil {
		return err
	}
	return a.paired("paired as", bundle, posPlace{r.posID, r.out, ""})
}

// canSave finds out that a folder can be filled before a code is spent on what would be
// lost: the terminal lists a POS as paired then, and nobody has its key.
func canSave(dir string) error {
	parent := dir
	switch _, err := os.Lstat(dir); {
	case errors.Is(err, fs.ErrNotExist):
		parent = filepath.Dir(filepath.Clean(dir))
	case err != nil:
		return err
	}
	probe, err := os.MkdirTemp(parent, ".new-*")
	if err != nil {
		return err
	}
	return os.Remove(probe)
}

// A posPlace is which POS it is and where it keeps what it has.
type posPlace struct{ id, out, alias string }

// paired says what a POS has now.
func (a *app) paired(verb string, b *pairing.Bundle, at posPlace) error {
	v := struct {
		POSID       string      `json:"pos_id"`
		Out         string      `json:"out"`
		Alias       string      `json:"alias"`
		Certificate certificate `json:"certificate"`
	}{at.id, filepath.Clean(at.out), at.alias, describe(b.Chain[0])}
	if expiresSoon(b.Chain[0], time.Now()) {
		a.warn("certificate expires on %s, because that of the pairing CA does, or its clock is wrong", date(b.Expires()))
	}
	if at.alias != "" {
		return a.did(v, "%s %s until %s; certificate %s is on the token, chain.pem and root.pem are in %s",
			verb, cell(v.POSID), date(b.Expires()), cell(v.Alias), cell(v.Out))
	}
	return a.did(v, "%s %s until %s; key.pem, chain.pem and root.pem are in %s",
		verb, cell(v.POSID), date(b.Expires()), cell(v.Out))
}

// linkFlag registers --link, which is given instead of others.
func linkFlag(c *cobra.Command, link *string, instead string) {
	c.Flags().StringVar(link, "link", "", "`LINK` in the QR code on the terminal's screen, in place of "+instead)
}

func takesURLOrLink(c *cobra.Command, args []string) error {
	if c.Flags().Changed("link") {
		return takes()(c, args)
	}
	return takes("URL")(c, args)
}

// clientOf knows where the terminal is from flags, or from the QR code. What both say is
// said once too often. Only a link has the root in it.
func clientOf(url, link, name string) (*pairing.Client, error) {
	if link == "" {
		return &pairing.Client{URL: url, Name: name}, nil
	}
	c, err := pairing.ParseLink(link)
	switch {
	case err != nil:
		return nil, usagef("invalid argument %q for --link: %w", link, err)
	case c.Name != "" && name != "":
		return nil, usagef("--name is in the link already")
	}
	c.Name = cmp.Or(c.Name, name)
	return c, nil
}

// pairClient also knows the root.
func (a *app) pairClient(url string, r pairRequest) (*pairing.Client, error) {
	c, err := clientOf(url, r.link, r.name)
	switch {
	case err != nil:
		return nil, err
	case !c.Root.IsZero() && r.root != "":
		return nil, usagef("--root is in the link already")
	case !c.Root.IsZero():
		return c, nil
	case r.root == "":
		return nil, usagef("--root is missing, and is not in the link either")
	}
	c.Root, err = a.readPairingRoot(r.root)
	return c, err
}

// readPairingRoot reads a file, or a fingerprint.
func (a *app) readPairingRoot(root string) (pairing.Root, error) {
	if strings.HasPrefix(root, "sha256:") || strings.HasPrefix(root, "sha256/") {
		return pairing.ParseFingerprint(root)
	}
	text, err := a.readInput(root)
	if err != nil {
		return pairing.Root{}, err
	}
	parsed, err := pairing.ParseRoot(text)
	if err != nil {
		return pairing.Root{}, fmt.Errorf("%s: %w", root, err)
	}
	return parsed, nil
}

func (a *app) pairRequest(r pairRequest) (pairing.Request, error) {
	if r.code == "-" {
		line, _ := bufio.NewReader(a.stdin).ReadString('\n') // nothing is no code
		r.code = strings.TrimSpace(line)
	}
	code, err := pairing.ParseCode(r.code)
	if err != nil {
		return pairing.Request{}, usagef("invalid argument for --code: %s", sentence(err)) // a code that was tried is another matter
	}
	var key crypto.Signer
	if r.csr {
		if key, err = newPOSKey(); err != nil {
			return pairing.Request{}, err
		}
	}
	return pairing.Request{POSID: r.posID, Code: code, Key: key}, nil
}

func newPOSKey() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }
