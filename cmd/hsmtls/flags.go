// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/keystore"
	"github.com/hsmtls/hsmtls-go/truststore"
)

// The globals are the flags of every command.
type globals struct {
	uri, module, token, pinFile string
	acquirerRoots, vendorRoots  []string
	crlPolicy                   string
	tokenAnchors                bool
	isolate                     bool
	json                        bool

	uriGiven bool // on the command line
}

// globalEnv names the environment variable behind each global flag.
var globalEnv = map[string]string{
	"uri":           "HSMTLS_URI",
	"module":        "HSMTLS_MODULE",
	"token":         "HSMTLS_TOKEN",
	"pin-file":      "HSMTLS_PIN_FILE",
	"acquirer-root": "HSMTLS_ACQUIRER_ROOT",
	"vendor-root":   "HSMTLS_VENDOR_ROOT",
	"crl-policy":    "HSMTLS_CRL_POLICY",
	"token-anchors": "HSMTLS_TOKEN_ANCHORS",
	"isolate":       "HSMTLS_ISOLATE",
	"json":          "HSMTLS_JSON",
}

func (g *globals) register(root *cobra.Command) {
	f := root.PersistentFlags()
	f.StringVar(&g.uri, "uri", "", "token as a PKCS#11 `URI` (RFC 7512) [$HSMTLS_URI]")
	f.StringVar(&g.module, "module", "", "PKCS#11 library, a `FILE` [$HSMTLS_MODULE]")
	f.StringVar(&g.token, "token", "", "`LABEL` of the token [$HSMTLS_TOKEN; also $HSMTLS_SERIAL, $HSMTLS_SLOT]")
	f.StringVar(&g.pinFile, "pin-file", "", "`FILE` with the user PIN, mode 0600 [$HSMTLS_PIN_FILE]")
	f.StringArrayVar(&g.acquirerRoots, "acquirer-root", nil,
		"`FILE` with acquirer roots; may be repeated [$HSMTLS_ACQUIRER_ROOT, files separated as in $PATH]")
	f.StringArrayVar(&g.vendorRoots, "vendor-root", nil,
		"`FILE` with vendor roots; may be repeated [$HSMTLS_VENDOR_ROOT, likewise]")
	f.StringVar(&g.crlPolicy, "crl-policy", "warn", "what a CRL past its next update means: `POLICY` warn, refuse or require [$HSMTLS_CRL_POLICY]")
	f.BoolVar(&g.tokenAnchors, "token-anchors", false,
		"also use the roots that the security officer has written to the token [$HSMTLS_TOKEN_ANCHORS=true]")
	f.BoolVar(&g.isolate, "isolate", false,
		"run the PKCS#11 library in a process of its own, so that its crash is an outage only [$HSMTLS_ISOLATE=true]")
	f.BoolVar(&g.json, "json", false, "print JSON [$HSMTLS_JSON=true]")
	for _, name := range []string{"acquirer-root", "vendor-root"} {
		_ = root.MarkPersistentFlagFilename(name, certificateFiles...)
	}
}

// fromEnv gives the flags that are not on the command line the values of the
// environment. A URI on the command line names its token alone, and its module
// and PIN if it has them.
func (g *globals) fromEnv(cmd *cobra.Command) error {
	f := cmd.Root().PersistentFlags()
	g.uriGiven = f.Changed("uri")
	for name, variable := range globalEnv {
		value := os.Getenv(variable)
		if value == "" || f.Changed(name) || g.uriGiven && g.uriDecides(name) {
			continue
		}
		values := []string{value}
		if strings.HasSuffix(name, "-root") {
			values = filepath.SplitList(value)
		}
		for _, v := range values {
			if err := f.Lookup(name).Value.Set(v); err != nil {
				return fmt.Errorf("%s: %w", variable, err)
			}
		}
	}
	return nil
}

func (g *globals) uriDecides(flag string) bool {
	switch flag {
	case "token":
		return true
	case "module":
		return uriAttribute(g.uri, "module-path") != ""
	case "pin-file":
		return uriAttribute(g.uri, "pin-source")+uriAttribute(g.uri, "pin-value") != ""
	}
	return false
}

// uriAttribute returns a query attribute of a PKCS#11 URI (RFC 7512 section
// 2.3). That the URI is well formed is looked at by hsm.Open.
func uriAttribute(uri, name string) string {
	_, query, _ := strings.Cut(uri, "?")
	for _, attribute := range strings.Split(query, "&") {
		if value, ok := strings.CutPrefix(attribute, name+"="); ok {
			decoded, _ := url.PathUnescape(value)
			return decoded
		}
	}
	return ""
}

// modulePath returns the PKCS#11 library for commands that open no token. What is no
// URI of one is not repeated: there may be a PIN in it.
func (g *globals) modulePath() (string, error) {
	if g.uri != "" && !strings.HasPrefix(g.uri, "pkcs11:") {
		return "", &usageError{errURI}
	}
	if g.module != "" {
		return g.module, nil
	}
	if path := uriAttribute(g.uri, "module-path"); path != "" {
		return path, nil
	}
	return "", &usageError{errNoModule}
}

var (
	errURI      = errors.New("the scheme of a PKCS#11 URI is pkcs11")
	errNoModule = errors.New("no PKCS#11 module is named")
	errNoRoots  = errors.New("no acquirer or vendor root is named")
)

// config says which token is meant.
func (a *app) config() (hsm.Config, error) {
	g := &a.globals
	if _, err := g.modulePath(); err != nil {
		return hsm.Config{}, err
	}
	cfg, err := hsm.ConfigFromEnv()
	if err != nil {
		return hsm.Config{}, &usageError{err}
	}
	if g.uriGiven {
		cfg.Serial, cfg.SlotID = "", nil
	}
	if cfg.ModuleHost, err = g.moduleHost(); err != nil {
		return hsm.Config{}, err
	}
	cfg.URI, cfg.Module, cfg.Token, cfg.Logger = g.uri, g.module, g.token, a.logger()
	cfg.PIN = pinFrom(g.pinFile)
	return cfg, nil
}

// pinFrom is a PIN in a file, or none.
func pinFrom(path string) hsm.PIN {
	if path == "" {
		return hsm.PIN{}
	}
	return hsm.PINFile(path)
}

// withToken opens the token for f.
func (a *app) withToken(ctx context.Context, f func(*hsm.Token) error) error {
	cfg, err := a.config()
	if err != nil {
		return err
	}
	tok, err := openToken(ctx, cfg)
	if err != nil {
		return err
	}
	defer tok.Close()
	return f(tok)
}

// openToken opens a token. If it wants a PIN and nobody said where that is, it is
// asked for on the terminal.
func openToken(ctx context.Context, cfg hsm.Config) (*hsm.Token, error) {
	tok, err := hsm.Open(ctx, cfg)
	if errors.Is(err, hsm.ErrNoPIN) && cfg.PIN.IsZero() {
		cfg.PIN = hsm.PINPrompt("user PIN: ")
		tok, err = hsm.Open(ctx, cfg)
	}
	return tok, err
}

func (a *app) withKeys(ctx context.Context, f func(*keystore.Store) error) error {
	return a.withToken(ctx, func(tok *hsm.Token) error { return f(keystore.New(tok)) })
}

// withTrust reads the roots before it opens the token, so that a missing file
// costs no PIN.
func (a *app) withTrust(ctx context.Context, f func(*hsm.Token, *truststore.Store) error) error {
	anchors, err := a.anchors()
	if err != nil {
		return err
	}
	if _, err := a.crlPolicy(); err != nil {
		return err
	}
	return a.withToken(ctx, func(tok *hsm.Token) error {
		trust, err := a.openTrust(ctx, tok, anchors)
		if err != nil {
			return err
		}
		return f(tok, trust)
	})
}

// anchors reads the roots in files. With those on the token there need be none.
func (a *app) anchors() (anchors truststore.Anchors, err error) {
	if len(a.globals.acquirerRoots)+len(a.globals.vendorRoots) == 0 && !a.globals.tokenAnchors {
		return anchors, &usageError{errNoRoots}
	}
	if anchors.Acquirer, err = a.readRoots(a.globals.acquirerRoots); err != nil {
		return anchors, err
	}
	anchors.Vendor, err = a.readRoots(a.globals.vendorRoots)
	return anchors, err
}

func (a *app) readRoots(paths []string) (roots []*x509.Certificate, err error) {
	for _, path := range paths {
		certs, err := a.readCertificates(path)
		if err != nil {
			return nil, err
		}
		roots = append(roots, certs...)
	}
	return roots, nil
}
