// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/hsmtls/hsmtls-go/hsmtls"
	"github.com/hsmtls/hsmtls-go/keystore"
)

// A party is one end of a handshake with oneself: an identity on the token, or
// one that is thrown away.
type party struct {
	name  string // empty for one that is thrown away
	chain *tls.Certificate
	leaf  *x509.Certificate
}

// Certificate makes a party the keys of a Provider.
func (p party) Certificate(context.Context, string) (*tls.Certificate, error) { return p.chain, nil }

// Verify makes a party the trust of its peer: it and nobody else. What else is
// wrong with its certificate is for other checks.
func (p party) Verify(chain []*x509.Certificate, name string, _ x509.ExtKeyUsage, _ time.Time) ([]*x509.Certificate, error) {
	if len(chain) == 0 || !chain[0].Equal(p.leaf) {
		return nil, errors.New("the other end shows another certificate than it has")
	}
	if name == "" {
		return []*x509.Certificate{p.leaf}, nil
	}
	return []*x509.Certificate{p.leaf}, p.leaf.VerifyHostname(name)
}

func onToken(i *keystore.Identity) party {
	c := i.Certificate()
	return party{i.Alias, &c, i.Chain[0]}
}

// throwAway makes an end whose key lives as long as the check. It is for a role
// in which nothing on the token can be shown.
func throwAway() (party, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return party{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "doctor"}, DNSNames: []string{"doctor.invalid"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return party{}, err
	}
	leaf, err := x509.ParseCertificate(der)
	return party{"", &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, leaf}, err
}

// proves is a name that the certificate of a server proves, or empty.
func (p party) proves() string {
	if len(p.leaf.DNSNames) > 0 {
		return strings.Replace(p.leaf.DNSNames[0], "*", "doctor", 1)
	}
	if len(p.leaf.IPAddresses) > 0 {
		return p.leaf.IPAddresses[0].String()
	}
	return ""
}

func checkTLS(ctx context.Context, e *exam) (found []finding) {
	stranger, err := throwAway()
	if err != nil {
		return []finding{{Level: levelError, Text: sentence(err)}}
	}
	var servers, clients []party
	for _, i := range e.proved {
		usages := roles(i)
		if slices.Contains(usages, x509.ExtKeyUsageServerAuth) {
			servers = append(servers, onToken(i))
		}
		if slices.Contains(usages, x509.ExtKeyUsageClientAuth) {
			clients = append(clients, onToken(i))
		}
		if len(usages) == 0 && !i.Chain[0].IsCA {
			found = append(found, finding{
				Level: levelWarning, Subject: i.Alias, Text: "the certificate is for neither servers nor clients",
				Why: "nobody accepts it in TLS", Mend: mend("cert", "renew", "--usage", "client", "--csr-out", "renewal.csr", last(i.Alias)),
			})
		}
	}
	for _, pair := range couples(servers, clients, stranger) {
		found = append(found, try(ctx, pair[0], pair[1]))
	}
	if len(found) == 0 {
		return []finding{{Level: levelNote, Text: "not looked at: there is no certificate to make a handshake with"}}
	}
	return found
}

// couples brings everybody into a handshake, with somebody on the token if there
// is somebody for the other role: server and client.
func couples(servers, clients []party, stranger party) (pairs [][2]party) {
	for i := range max(len(servers), len(clients)) {
		pair := [2]party{stranger, stranger}
		for role, all := range [][]party{servers, clients} {
			if len(all) > 0 {
				pair[role] = all[min(i, len(all)-1)]
			}
		}
		pairs = append(pairs, pair)
	}
	return pairs
}

// try is what a handshake shows.
func try(ctx context.Context, server, client party) finding {
	f := finding{Level: levelOK, Subject: strings.Trim(server.name+", "+client.name, ", ")}
	r, err := shake(ctx, server, client)
	if err != nil {
		f.Level, f.Text = levelError, fmt.Sprintf("no handshake of %s with %s: %s", end(server, "server"), end(client, "client"), sentence(err))
		f.Why, f.Mend = "nothing but the identities is involved: no network, no trust store", mend("cert", "list")
		return f
	}
	f.Text = fmt.Sprintf("%s and %s: %s, %s, signed with %s and %s", end(server, "server"), end(client, "client"),
		tls.VersionName(r.Version), tls.CipherSuiteName(r.CipherSuite), r.ServerSignature, r.ClientSignature)
	return f
}

func end(p party, role string) string {
	if p.name == "" {
		return "throw-away " + role + " (the token has none)"
	}
	return role + " " + cell(p.name)
}

var errNameless = errors.New("the certificate of the server has no name to prove")

// shake makes a handshake over loopback, with a byte there and back.
func shake(ctx context.Context, server, client party) (r hsmtls.ConnReport, err error) {
	if server.proves() == "" {
		return r, errNameless
	}
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return r, err
	}
	listen := &hsmtls.ListenConfig{Provider: &hsmtls.Provider{Keys: server, Trust: client}, Alias: "server"}
	ln, err := listen.NewListener(ctx, inner)
	if err != nil {
		inner.Close()
		return r, err
	}
	served := make(chan error, 1)
	go func() { served <- echoByte(ln) }()
	dial := &hsmtls.Dialer{Provider: &hsmtls.Provider{Keys: client, Trust: server}, Alias: "client", ServerName: server.proves()}
	r, err = exchange(ctx, dial, inner.Addr().String())
	ln.Close()
	return r, errors.Join(err, <-served)
}

// echoByte answers one connection.
func echoByte(ln net.Listener) error {
	conn, err := ln.Accept()
	if errors.Is(err, net.ErrClosed) {
		return nil // the client has a better reason
	}
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = io.CopyN(conn, conn, 1)
	return err
}

func exchange(ctx context.Context, dial *hsmtls.Dialer, addr string) (r hsmtls.ConnReport, err error) {
	conn, err := dial.DialContext(ctx, "tcp", addr)
	if err != nil {
		return r, err
	}
	defer conn.Close()
	if _, err := conn.Write([]byte{1}); err != nil {
		return r, err
	}
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		return r, err
	}
	return hsmtls.Report(conn)
}
