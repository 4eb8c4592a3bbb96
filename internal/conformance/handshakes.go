// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package conformance

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/hsmtls/hsmtls-go/hsmtls"
	"github.com/hsmtls/hsmtls-go/internal/testpki"
	"github.com/hsmtls/hsmtls-go/keystore"
	"github.com/hsmtls/hsmtls-go/truststore"
)

// handshakes connects the token to itself with each type of key: a full
// handshake, for which both sides sign, and a resumed one.
func (r *trial) handshakes() {
	for _, typ := range keyTypes {
		if r.made[typ] == nil {
			continue
		}
		r.feature("handshake, both sides "+typ.String(), func(ctx context.Context) error {
			p, done, err := r.provider(ctx, typ)
			if err != nil {
				return errors.Join(err, done(ctx))
			}
			err = r.meet(ctx, p)
			return errors.Join(err, done(ctx))
		})
	}
}

// provider puts a client, a server and the trust of both on the token.
func (r *trial) provider(ctx context.Context, typ keystore.KeyType) (_ *hsmtls.Provider, done func(context.Context) error, err error) {
	root := testpki.NewRoot("Conformance Root")
	ca := root.NewIntermediate("Conformance CA")
	var trust *truststore.Store
	done = func(ctx context.Context) (err error) {
		for _, alias := range []string{r.alias("client"), r.alias("server")} {
			if e := r.keys.DeleteCertificate(ctx, alias); !errors.Is(e, keystore.ErrNotFound) {
				err = errors.Join(err, e)
			}
		}
		if trust != nil {
			if e := trust.Remove(ctx, r.alias("ca")); !errors.Is(e, truststore.ErrNotFound) {
				err = errors.Join(err, e)
			}
		}
		return err
	}
	for alias, usage := range map[string]x509.ExtKeyUsage{r.alias("client"): x509.ExtKeyUsageClientAuth, r.alias("server"): x509.ExtKeyUsageServerAuth} {
		chain, err := r.chain(ctx, typ, ca, usage)
		if err != nil {
			return nil, done, err
		}
		if err := r.keys.Inject(ctx, alias, r.alias(typ), chain); err != nil {
			return nil, done, err
		}
	}
	trust, err = truststore.Open(ctx, r.token, truststore.Config{Anchors: truststore.Anchors{Acquirer: []*x509.Certificate{root.Certificate}}})
	if err != nil {
		return nil, done, err
	}
	if _, err := trust.Inject(ctx, r.alias("ca"), ca.Certificate); err != nil {
		return nil, done, err
	}
	return &hsmtls.Provider{Keys: r.keys, Trust: trust}, done, nil
}

// meet makes a full handshake and a resumed one over TLS 1.2, and one over TLS
// 1.3, which needs PSS for RSA keys.
func (r *trial) meet(ctx context.Context, p *hsmtls.Provider) error {
	reports, err := r.connect(ctx, p, 2)
	if err != nil {
		return err
	}
	if reports[0].Resumed || !reports[1].Resumed {
		return fmt.Errorf("resumed: first %v, second %v", reports[0].Resumed, reports[1].Resumed)
	}
	reports, err = r.connect(ctx, &hsmtls.Provider{Keys: p.Keys, Trust: p.Trust, Policy: hsmtls.Policy{AllowTLS13: true}}, 1)
	switch {
	case err != nil:
		return degradedError("TLS 1.2 only: " + err.Error())
	case reports[0].Version != tls.VersionTLS13:
		return degradedError("TLS 1.2 only")
	}
	return nil
}

// connect makes n connections to one server.
func (r *trial) connect(ctx context.Context, p *hsmtls.Provider, n int) (reports []hsmtls.ConnReport, _ error) {
	ln, err := p.Listen(ctx, "tcp", "127.0.0.1:0", r.alias("server"))
	if err != nil {
		return nil, err
	}
	var server sync.WaitGroup
	defer server.Wait()
	defer ln.Close()
	server.Go(func() {
		for range n {
			echo(ln)
		}
	})
	for range n {
		report, err := r.ask(ctx, p, ln.Addr().String())
		if err != nil {
			return nil, err
		}
		reports = append(reports, report)
	}
	return reports, nil
}

// ask makes one connection over which a line goes there and back.
func (r *trial) ask(ctx context.Context, p *hsmtls.Provider, addr string) (none hsmtls.ConnReport, _ error) {
	conn, err := p.Dial(ctx, "tcp", addr, r.alias("client"))
	if err != nil {
		return none, err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "noon\n"); err != nil {
		return none, err
	}
	if _, err := io.ReadFull(conn, make([]byte, len("noon\n"))); err != nil {
		return none, err
	}
	return hsmtls.Report(conn)
}

// echo sends back what one connection brings.
func echo(ln net.Listener) {
	conn, err := ln.Accept()
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = io.Copy(conn, conn)
}
