// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"context"
	"encoding/pem"
	"net"
	"net/url"
	"regexp"

	"github.com/spf13/cobra"

	"github.com/hsmtls/hsmtls-go/keystore"
)

// A csrRequest is the flags of csr.
type csrRequest struct {
	subject string
	dns     []string
	ips     []net.IP
	uris    []string
	out     string
}

func (a *app) csrCommand() *cobra.Command {
	var r csrRequest
	c := &cobra.Command{
		Use:   "csr KEYALIAS",
		Short: "make a certificate request for a key",
		Long: `csr makes a certificate request (PKCS #10), signed by the key inside the token,
and prints it as PEM. The CA answers it with a certificate, which is for
hsmtls cert inject.

The subject is written as in RFC 4514: attributes CN, SERIALNUMBER, O, OU, C, L,
ST, STREET and POSTALCODE, a comma between them, a backslash before a comma that
belongs to a value.

JSON: alias, pem.`,
		Example:           "  hsmtls csr terminal --subject CN=t-0042,O=Acquirer --dns t-0042.terminals.example --out terminal.csr",
		Args:              takes("KEYALIAS"),
		ValidArgsFunction: completes(),
		RunE: a.does(func(ctx context.Context, args []string) error {
			request, err := r.parse()
			if err != nil {
				return err
			}
			return a.withKeys(ctx, func(keys *keystore.Store) error {
				return a.csr(ctx, keys, args[0], request, r.out)
			})
		}),
	}
	r.register(c)
	c.Flags().StringVar(&r.out, "out", "", "`FILE` to write; standard output if missing")
	c.MarkFlagsOneRequired("subject", "dns", "ip", "uri-san")
	return c
}

// register adds the flags that say what to ask for.
func (r *csrRequest) register(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&r.subject, "subject", "", "`SUBJECT` to ask for, such as CN=t-0042,O=Acquirer")
	f.StringArrayVar(&r.dns, "dns", nil, "DNS `NAME` to ask for; may be repeated")
	f.IPSliceVar(&r.ips, "ip", nil, "IP `ADDRESS` to ask for; may be repeated")
	f.Lookup("ip").DefValue = "" // instead of []
	f.StringArrayVar(&r.uris, "uri-san", nil, "`URI` to ask for; may be repeated")
}

func (r csrRequest) isSet() bool { return r.subject != "" || len(r.dns)+len(r.ips)+len(r.uris) > 0 }

// hostName is one of RFC 1123 section 2.1, whose first label may be a wildcard.
var hostName = regexp.MustCompile(`^(\*\.)?` + hostLabel + `(\.` + hostLabel + `)*$`)

const hostLabel = `[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?`

func (r csrRequest) parse() (keystore.Request, error) {
	subject, err := parseSubject(r.subject)
	if err != nil {
		return keystore.Request{}, usagef("invalid argument %q for --subject: %w", r.subject, err)
	}
	for _, name := range r.dns {
		if len(name) > 253 || !hostName.MatchString(name) {
			return keystore.Request{}, usagef("invalid argument %q for --dns: no valid host name", name)
		}
	}
	request := keystore.Request{Subject: subject, DNSNames: r.dns, IPAddresses: r.ips}
	for _, s := range r.uris {
		u, err := url.Parse(s)
		if err != nil || u.Scheme == "" {
			return keystore.Request{}, usagef("invalid argument %q for --uri-san: not an absolute URI", s)
		}
		request.URIs = append(request.URIs, u)
	}
	return request, nil
}

func (a *app) csr(ctx context.Context, keys *keystore.Store, alias string, request keystore.Request, out string) error {
	der, err := keys.CSR(ctx, alias, request)
	if err != nil {
		return err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
	return a.showFile(out, text, alias, "certificate request of key")
}

// showFile prints a result that is PEM, or writes it to a file and says so.
func (a *app) showFile(path string, text []byte, alias, what string) error {
	v := struct {
		Alias string `json:"alias"`
		PEM   string `json:"pem"`
	}{alias, string(text)}
	switch {
	case path != "" && path != "-":
		if err := a.writeOut(path, text); err != nil {
			return err
		}
		return a.did(v, "wrote %s, the %s %s", cell(path), what, cell(alias))
	case a.globals.json:
		return a.showJSON(v)
	}
	return a.writeOut(path, text)
}
