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
	"syscall"
	"time"
)

const (
	probeTimeout = 10 * time.Second
	auditTimeout = 5 * time.Minute
	maxFlight    = 256 << 10 // bytes, more than any chain has
)

var errLongFlight = fmt.Errorf("sends more than %d bytes in one flight", maxFlight)

// A prober talks to one server, one connection at a time.
type prober struct {
	addr string
	name string // sent as SNI; empty if the server is an address
	step func() // called before each connection
}

func (p *prober) connect(ctx context.Context) (net.Conn, error) {
	p.step()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	conn, err := (&net.Dialer{Timeout: probeTimeout}).DialContext(ctx, "tcp", p.addr)
	if err != nil {
		return nil, err
	}
	return conn, conn.SetDeadline(time.Now().Add(probeTimeout))
}

// ask sends an offer and returns the answer. A server that closes or is silent
// has said nothing, which is no error; that it cannot be reached is one.
func (p *prober) ask(ctx context.Context, o offer) (flight, error) {
	conn, err := p.connect(ctx)
	if err != nil {
		return flight{}, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	o.name = p.name
	if _, err := conn.Write(o.marshal()); err != nil {
		return flight{}, nil // it has closed
	}
	var seen []byte
	for buffer := make([]byte, 16<<10); len(seen) < maxFlight; {
		n, err := conn.Read(buffer)
		seen = append(seen, buffer[:n]...)
		var f flight
		if f.read(seen); err != nil || f.complete || f.alerted {
			return f, ctx.Err()
		}
	}
	return flight{}, fmt.Errorf("%s %w", p.addr, errLongFlight)
}

// A recorder keeps what is read from a connection.
type recorder struct {
	net.Conn
	seen []byte
}

func (r *recorder) Read(b []byte) (int, error) {
	n, err := r.Conn.Read(b)
	if room := maxFlight - len(r.seen); room > 0 {
		r.seen = append(r.seen, b[:min(n, room)]...)
	}
	return n, err
}

// flight returns what the server said in the clear.
func (r *recorder) flight() (f flight) {
	f.read(r.seen)
	return f
}

// handshake completes a TLS 1.2 handshake with the server that has the given
// leaf, as the client that has the certificate, or none.
func (p *prober) handshake(ctx context.Context, leaf *x509.Certificate, own ...tls.Certificate) (flight, error) {
	conn, err := p.connect(ctx)
	if err != nil {
		return flight{}, err
	}
	defer conn.Close()
	record := &recorder{Conn: conn}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	err = tls.Client(record, &tls.Config{
		MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12,
		RootCAs: roots, ServerName: provedName(leaf, p.name),
		ClientSessionCache:   tls.NewLRUClientSessionCache(1),
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return first(own), nil },
	}).HandshakeContext(ctx)
	return record.flight(), err
}

func first(certs []tls.Certificate) *tls.Certificate {
	if len(certs) == 0 {
		return new(tls.Certificate)
	}
	return &certs[0]
}

// provedName returns a name that the leaf has, that given if it may be.
func provedName(leaf *x509.Certificate, name string) string {
	switch {
	case leaf.VerifyHostname(name) == nil || len(leaf.DNSNames)+len(leaf.IPAddresses) == 0:
		return name
	case len(leaf.DNSNames) > 0:
		return leaf.DNSNames[0]
	}
	return leaf.IPAddresses[0].String()
}

// wasRefused tells whether it was the server that ended a handshake.
func wasRefused(err error) bool {
	return isRemoteAlert(err) || errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)
}

// stranger returns a client certificate that nobody can know.
func stranger() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "audit of hsmtls"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}
