// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hsmtls/hsmtls-go/est"
	"github.com/hsmtls/hsmtls-go/hsmtls"
	"github.com/hsmtls/hsmtls-go/truststore"
)

// errPasswordFile is for a password that others may read.
var errPasswordFile = errors.New("a password file has to be for its owner only")

// An estServer is the flags that name one.
type estServer struct {
	url, label         string
	user, passwordFile string
	wait               time.Duration
}

// register adds the flags of commands that want a certificate.
func (s *estServer) register(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&s.label, "est-label", "", "`LABEL` of one of the CAs behind the server")
	f.DurationVar(&s.wait, "wait", 0, "`TIME` to wait for a CA that wants to be asked again later; none if missing")
}

// check refuses a URL before there is a key, and a question for a PIN, in vain. One
// with a password in it is not repeated.
func (s *estServer) check() error {
	if u, err := url.Parse(s.url); err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		return &usageError{fmt.Errorf("%w: the URL has to be https with a host and nothing else", est.ErrIncomplete)}
	}
	return nil
}

// client is an EST client that speaks through h.
func (s *estServer) client(h *http.Client) *est.Client {
	c := &est.Client{URL: s.url, Label: s.label, HTTP: h, Wait: s.wait}
	if s.user != "" {
		c.Login = func(context.Context) (string, string, error) {
			password, err := readPassword(s.passwordFile)
			return s.user, password, err
		}
	}
	return c
}

func readPassword(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("%w: %s", errPasswordFile, path)
	}
	const longest = 1 << 10
	text, err := io.ReadAll(io.LimitReader(f, longest))
	return strings.TrimRight(string(text), "\r\n"), err
}

func (a *app) estCommand() *cobra.Command {
	return group("est", "ask an EST server for certificates (RFC 7030)", a.estCACerts(), a.estEnroll())
}

// withEST opens what speaks to an EST server: as the alias, or as nobody.
func (a *app) withEST(ctx context.Context, s estServer, present string, f func(*hsmtls.Provider, *est.Client) error) error {
	if err := s.check(); err != nil {
		return err
	}
	return a.withProvider(ctx, func(p *hsmtls.Provider, _ *truststore.Store) error {
		transport := p.AnonymousTransport()
		if present != "" {
			transport = p.Transport(hsmtls.Alias(present))
		}
		defer transport.CloseIdleConnections()
		return f(p, s.client(&http.Client{Transport: transport}))
	})
}

func (a *app) estCACerts() *cobra.Command {
	var s estServer
	var present, out string
	c := &cobra.Command{
		Use:   "cacerts URL",
		Short: "print the certificates of the CA behind an EST server",
		Long: `cacerts asks an EST server for the certificates of its CA, and prints them as PEM. The
server has to be trusted already. What it answers is trusted for nothing and put
nowhere: compare it with what the CA has told by other ways before you inject any of
it.

JSON: alias (the URL), pem.`,
		Args:              takes("URL"),
		ValidArgsFunction: completes(),
		RunE: a.does(func(ctx context.Context, args []string) error {
			s.url = args[0]
			return a.withEST(ctx, s, present, func(_ *hsmtls.Provider, client *est.Client) error {
				found, err := client.CACerts(ctx)
				if err != nil {
					return err
				}
				return a.showFile(out, encodeCertificates(found), args[0], "CA certificates of")
			})
		}),
	}
	c.Flags().StringVar(&s.label, "est-label", "", "`LABEL` of one of the CAs behind the server")
	c.Flags().StringVar(&present, "alias", "", "`ALIAS` of a certificate to present; none if missing")
	c.Flags().StringVar(&out, "out", "", "`FILE` to write; standard output if missing")
	return c
}

// quote shows what an EST server says to people, if err is its refusal.
func (a *app) quote(err error) {
	var status *est.StatusError
	if errors.As(err, &status) && strings.TrimSpace(status.Text) != "" {
		a.warn("the server says: %s", strings.TrimSpace(status.Text))
	}
}
