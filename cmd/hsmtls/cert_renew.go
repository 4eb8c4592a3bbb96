// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/hsmtls/hsmtls-go/hsmtls"
	"github.com/hsmtls/hsmtls-go/keystore"
	"github.com/hsmtls/hsmtls-go/truststore"
)

// A certRenewal is the flags of cert renew.
type certRenewal struct {
	csrOut, answer string
	est            estServer

	request csrRequest
	issuers []string
	usages  []string
	earlier bool
}

func (a *app) certRenew() *cobra.Command {
	var r certRenewal
	c := &cobra.Command{
		Use:   "renew ALIAS {--csr-out FILE | --answer FILE | --est URL}",
		Short: "have a certificate renewed, for the same key",
		Long: `renew gives an alias a new certificate for the same key, without a moment in which
there is none. There are two ways.

With a file: --csr-out FILE writes a certificate request with the subject and the names
of the present certificate, for any CA. Some time later --answer FILE brings what the
CA answered into use, the certificate first, then its issuers; those that are on the
token may be missing. "-" is standard output, or standard input.

Over the network: --est URL asks an EST server (RFC 7030), which has to be trusted like
any other, and shows it the present certificate.

The answer is refused, and all stays as it was, if it is for another key, signed by
another CA than the present certificate, out of date, not later than the present one,
or if it has a subject, a name or a usage that the present one has not. What is to
change is said by name: --subject, --dns, --ip and --uri-san ask for other names, in
both steps; --issuer admits another CA, --usage another usage, --earlier an earlier end.
An answer with the present certificate keeps it, and is no error.

Programs that have the alias open present the new certificate in new connections: the
one that renews at once, others when they refresh.

JSON: ` + identityHelp + `
With --csr-out: alias, pem.`,
		Example: "  hsmtls cert renew terminal_pub --csr-out renewal.csr\n" +
			"  hsmtls cert renew terminal_pub --answer renewed.pem\n" +
			"  hsmtls cert renew terminal_pub --est https://est.example:8443",
		Args:              takes("ALIAS"),
		ValidArgsFunction: completes(),
		RunE: a.does(func(ctx context.Context, args []string) error {
			how, err := r.parse(a)
			if err != nil {
				return err
			}
			return a.renew(ctx, args[0], r, how)
		}),
	}
	f := c.Flags()
	f.StringVar(&r.csrOut, "csr-out", "", "write the request to `FILE`")
	f.StringVar(&r.answer, "answer", "", "`FILE` with the certificate that the CA answered")
	f.StringVar(&r.est.url, "est", "", "`URL` of an EST server, such as https://est.example:8443")
	r.est.register(c)
	r.request.register(c)
	f.StringArrayVar(&r.issuers, "issuer", nil, "`FILE` with CAs that may sign, beside that of the present certificate; may be repeated")
	f.StringArrayVar(&r.usages, "usage", nil, "admit this `USAGE`: server or client; may be repeated")
	f.BoolVar(&r.earlier, "earlier", false, "admit an answer that does not end later")
	c.MarkFlagsOneRequired("csr-out", "answer", "est")
	c.MarkFlagsMutuallyExclusive("csr-out", "answer", "est")
	_ = c.MarkFlagFilename("answer", certificateFiles...)
	_ = c.MarkFlagFilename("issuer", certificateFiles...)
	return c
}

var renewalUsages = map[string]x509.ExtKeyUsage{"server": x509.ExtKeyUsageServerAuth, "client": x509.ExtKeyUsageClientAuth}

func (r certRenewal) parse(a *app) (how keystore.Renewal, err error) {
	how.AllowEarlier = r.earlier
	if r.request.isSet() {
		request, err := r.request.parse()
		if err != nil {
			return how, err
		}
		how.Request = &request
	}
	for _, word := range r.usages {
		usage, ok := renewalUsages[word]
		if !ok {
			return how, usagef("invalid argument %q for --usage: it is server or client", word)
		}
		how.Usages = append(how.Usages, usage)
	}
	how.Issuers, err = a.readRoots(r.issuers)
	return how, err
}

func (a *app) renew(ctx context.Context, alias string, r certRenewal, how keystore.Renewal) error {
	switch {
	case r.csrOut != "":
		return a.withKeys(ctx, func(keys *keystore.Store) error {
			der, err := keys.RequestRenewal(ctx, alias, how)
			if err != nil {
				return err
			}
			text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
			return a.showFile(r.csrOut, text, alias, "request to renew")
		})
	case r.answer != "":
		answer, err := a.readCertificates(r.answer)
		if err != nil {
			return err
		}
		return a.withKeys(ctx, func(keys *keystore.Store) error {
			verb := "renewed"
			if present, err := keys.Identity(ctx, alias); err == nil && present.Chain[0].Equal(answer[0]) {
				verb = "kept"
			}
			if _, err := keys.AcceptRenewal(ctx, alias, how, answer); err != nil {
				return err
			}
			return a.injected(ctx, keys, alias, verb)
		})
	}
	return a.renewOnline(ctx, alias, r, how)
}

func (a *app) renewOnline(ctx context.Context, alias string, r certRenewal, how keystore.Renewal) error {
	if err := r.est.check(); err != nil {
		return err
	}
	return a.withProvider(ctx, func(p *hsmtls.Provider, _ *truststore.Store) error {
		keys := p.Keys.(*keystore.Store)
		transport := p.Transport(hsmtls.Alias(alias))
		defer transport.CloseIdleConnections()
		client := r.est.client(&http.Client{Transport: transport})
		if _, err := keys.Renew(ctx, alias, how, client.SimpleReenroll); err != nil {
			a.quote(err)
			return err
		}
		return a.injected(ctx, keys, alias, "renewed")
	})
}

// daysLeft is how long an identity is still good, in words for a table.
func daysLeft(i keystore.IdentityInfo) string {
	e, ok := i.Expiry()
	if !ok {
		return ""
	}
	left := e.Left(time.Now())
	if left < 0 {
		return "ended"
	}
	return fmt.Sprintf("%d days", int(left/(24*time.Hour)))
}
