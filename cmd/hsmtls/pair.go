// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"bufio"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hsmtls/hsmtls-go/pairing"
)

// A pairRequest is the flags of pair.
type pairRequest struct {
	root, name, posID, code, out string
	csr                          bool
}

func (a *app) pairCommand() *cobra.Command {
	var r pairRequest
	c := &cobra.Command{
		Use:   "pair URL",
		Short: "pair with a terminal, as a POS",
		Long: `pair sends the setup code that the terminal shows to the terminal, and gets the
certificate with which a POS connects to it from then on. URL is https://HOST:PORT or
wss://HOST:PORT, as the terminal's screen has it. The folder of --out then has

  key.pem    the private key
  chain.pem  its certificate, the pairing CA, and its root
  root.pem   the root of the terminal's certificate

which their owner alone can read. The key is made by the terminal, or with --csr here.
No token is needed.

--root is the root that hsmtls root export prints, as PEM or JSON, or the fingerprint
(sha256:...) on the terminal's screen.

JSON: pos_id, out (the folder), certificate
` + certificateHelp + ".",
		Example: "  hsmtls pair https://192.0.2.7:8443 --root root.pem --name t-0042.terminals.example \\\n" +
			"    --pos-id till-3 --code 8QW1YS1D --out till-3",
		Args:              takes("URL"),
		ValidArgsFunction: completes(),
		RunE: a.does(func(ctx context.Context, args []string) error {
			return a.pair(ctx, args[0], r)
		}),
	}
	f := c.Flags()
	f.StringVar(&r.root, "root", "", "`FILE` with the root of the terminal, or its fingerprint")
	f.StringVar(&r.name, "name", "", "device `NAME` that the terminal has to prove; the host of URL if missing")
	f.StringVar(&r.posID, "pos-id", "", "`ID` of this POS, unique at the terminal")
	f.StringVar(&r.code, "code", "", "setup `CODE` on the terminal's screen; \"-\" reads it from standard input")
	f.BoolVar(&r.csr, "csr", false, "make the key here and ask for its certificate alone")
	f.StringVar(&r.out, "out", "", "`DIR` for the key and the certificates")
	mustHave(c, "root", "pos-id", "code", "out")
	_ = c.MarkFlagDirname("out")
	return c
}

func (a *app) pair(ctx context.Context, url string, r pairRequest) error {
	root, err := a.readPairingRoot(r.root)
	if err != nil {
		return err
	}
	request, err := a.pairRequest(r)
	if err != nil {
		return err
	}
	client := &pairing.Client{URL: url, Root: root, Name: r.name}
	bundle, err := client.Pair(ctx, request)
	if err != nil {
		return err
	}
	if err := bundle.Save(r.out); err != nil {
		return err
	}
	v := struct {
		POSID       string      `json:"pos_id"`
		Out         string      `json:"out"`
		Certificate certificate `json:"certificate"`
	}{r.posID, filepath.Clean(r.out), describe(bundle.Chain[0])}
	return a.did(v, "paired as %s until %s; key.pem, chain.pem and root.pem are in %s",
		cell(r.posID), date(v.Certificate.NotAfter), cell(v.Out))
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
		return pairing.Request{}, usagef("invalid argument for --code: %w", err)
	}
	var key crypto.Signer
	if r.csr {
		if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return pairing.Request{}, err
		}
	}
	return pairing.Request{POSID: r.posID, Code: code, Key: key}, nil
}
