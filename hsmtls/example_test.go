// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtls_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/hsmtls/hsmtls-go/hsmtls"
	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

// Keys and trust of the examples stand in for a token; in a program they are a
// keystore.Store and a truststore.Store.
var (
	root = testpki.NewRoot("Acquirer Root")
	keys = memoryKeys{
		"terminal_pub": root.Client("terminal 4711"),
		"acquirer":     root.Server("acquirer.example", "127.0.0.1"),
	}
	trust = rootTrust{root.Certificate}
	ctx   = context.Background()
)

func Example() {
	p := &hsmtls.Provider{Keys: keys, Trust: trust} // the zero policy is the strict one

	ln, err := p.Listen(ctx, "tcp", "127.0.0.1:0", "acquirer")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ln.Close()
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		io.WriteString(conn, "hello")
	}()

	conn, err := p.Dial(ctx, "tcp", ln.Addr().String(), "terminal_pub")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Close()
	greeting, _ := io.ReadAll(conn)
	fmt.Println(string(greeting), "over", tls.VersionName(conn.ConnectionState().Version))
	// Output: hello over TLS 1.2
}

func ExampleProvider_Transport() {
	p := &hsmtls.Provider{Keys: keys, Trust: trust}

	ln, err := p.Listen(ctx, "tcp", "127.0.0.1:0", "acquirer")
	if err != nil {
		fmt.Println(err)
		return
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "hello %s", r.TLS.PeerCertificates[0].Subject.CommonName)
	})}
	go srv.Serve(ln)
	defer srv.Close()

	transport := p.Transport(hsmtls.ByHost(map[string]string{"127.0.0.1": "terminal_pub"}))
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Get("https://" + ln.Addr().String())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	fmt.Println(string(body))
	// Output: hello terminal 4711
}

// A terminal is dialled by address and verified by the name in its certificate.
func ExampleDialer() {
	p := &hsmtls.Provider{Keys: keys, Trust: trust}
	ln, err := p.Listen(ctx, "tcp", "127.0.0.1:0", "acquirer")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ln.Close()
	go func() {
		if conn, err := ln.Accept(); err == nil {
			conn.(*tls.Conn).Handshake()
			conn.Close()
		}
	}()

	d := &hsmtls.Dialer{Provider: p, Alias: "terminal_pub", ServerName: "acquirer.example"}
	conn, err := d.DialContext(ctx, "tcp", ln.Addr().String())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Close()
	report, err := hsmtls.Report(conn)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(report.Alias, "to", report.Peer.DNSNames[0], "trusted by", report.Entry.Subject.CommonName)
	// Output: terminal_pub to acquirer.example trusted by Acquirer Root
}

// A bare configuration serves libraries that dial themselves.
func ExampleProvider_ClientConfig() {
	p := &hsmtls.Provider{Keys: keys, Trust: trust}
	cfg, err := p.ClientConfig(ctx, "terminal_pub")
	if err != nil {
		fmt.Println(err)
		return
	}
	cfg.ServerName = "acquirer.example"
	fmt.Println(tls.VersionName(cfg.MinVersion), "to", tls.VersionName(cfg.MaxVersion))
	// Output: TLS 1.2 to TLS 1.2
}

// What a terminal may present is decided before anything is sent.
func ExampleErrIncomplete() {
	p := &hsmtls.Provider{Keys: keys, Trust: trust}
	_, err := p.Dial(ctx, "tcp", "acquirer.example:8443", "no_such_alias")
	fmt.Println(errors.Is(err, hsmtls.ErrIncomplete))
	// Output: true
}

type memoryKeys map[string]tls.Certificate

func (k memoryKeys) Certificate(_ context.Context, alias string) (*tls.Certificate, error) {
	cert, ok := k[alias]
	if !ok {
		return nil, errors.New("not found")
	}
	return &cert, nil
}

type rootTrust struct{ root *x509.Certificate }

func (r rootTrust) Verify(chain []*x509.Certificate, name string, usage x509.ExtKeyUsage, at time.Time) ([]*x509.Certificate, error) {
	roots := x509.NewCertPool()
	roots.AddCert(r.root)
	chains, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, DNSName: name, KeyUsages: []x509.ExtKeyUsage{usage}, CurrentTime: at})
	if err != nil {
		return nil, err
	}
	return chains[0], nil
}
