// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build linux && cgo

// Hsmtls is this module as a contender of the benchmark, used as its
// documentation says and with its defaults.
package main

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"time"

	"github.com/hsmtls/hsmtls-go/bench/contend"
	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/hsmtls"
	"github.com/hsmtls/hsmtls-go/keystore"
	"github.com/hsmtls/hsmtls-go/truststore"
)

const alias = "unit" // of the certificate; "unit_key" is that of its key

func main() {
	contend.Main(map[string]func(contend.Env) (*contend.Case, error){
		"sign-pkcs1":    sign("unit_key", crypto.SHA256),
		"sign-pss":      sign("unit_key", &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}),
		"sign-p256":     sign("p256_key", crypto.SHA256),
		"handshake":     dial(-1),
		"resumed":       dial(0),
		"https":         https,
		"serve":         serve,
		"start":         start,
		"start-trust":   startTrust,
		"trust-load":    trustLoad,
		"trust-refresh": trustRefresh,
		"trust-inject":  trustInject,
	})
}

func open(e contend.Env) (*hsm.Token, error) {
	pin := hsm.PINFunc(func(context.Context) ([]byte, error) { return []byte(e.PIN), nil })
	return hsm.Open(context.Background(), hsm.Config{Module: e.Module, Token: e.Token, PIN: pin, Sessions: e.Sessions})
}

// provider is what an application makes of its token.
func provider(e contend.Env) (*hsmtls.Provider, error) {
	tok, err := open(e)
	if err != nil {
		return nil, err
	}
	trust, err := openTrust(e, tok)
	if err != nil {
		return nil, err
	}
	return &hsmtls.Provider{Keys: keystore.New(tok), Trust: trust}, nil
}

func openTrust(e contend.Env, tok *hsm.Token) (*truststore.Store, error) {
	root, err := e.Root()
	if err != nil {
		return nil, err
	}
	return truststore.Open(context.Background(), tok, truststore.Config{
		Anchors: truststore.Anchors{Acquirer: []*x509.Certificate{root}},
	})
}

func sign(key string, opts crypto.SignerOpts) func(contend.Env) (*contend.Case, error) {
	return func(e contend.Env) (*contend.Case, error) {
		tok, err := open(e)
		if err != nil {
			return nil, err
		}
		k, err := keystore.New(tok).Key(context.Background(), key)
		if err != nil {
			return nil, err
		}
		digest := sha256.Sum256([]byte("bench"))
		return &contend.Case{Once: func(int) error {
			_, err := k.Sign(rand.Reader, digest[:], opts)
			return err
		}}, nil
	}
}

func dial(lifetime time.Duration) func(contend.Env) (*contend.Case, error) {
	return func(e contend.Env) (*contend.Case, error) {
		p, err := provider(e)
		if err != nil {
			return nil, err
		}
		p.SessionLifetime = lifetime
		return contend.Handshakes(func() (*tls.Conn, error) {
			return p.Dial(context.Background(), "tcp", e.Address, alias)
		}), nil
	}
}

func https(e contend.Env) (*contend.Case, error) {
	p, err := provider(e)
	if err != nil {
		return nil, err
	}
	return contend.Requests(e, p.Transport(hsmtls.Alias(alias))), nil
}

func serve(e contend.Env) (*contend.Case, error) {
	p, err := provider(e)
	if err != nil {
		return nil, err
	}
	ln, err := p.Listen(context.Background(), "tcp", "127.0.0.1:0", alias)
	if err != nil {
		return nil, err
	}
	return contend.Serve(ln), nil
}

// pinned trusts one root, without a trust store on the token: what a client
// needs that uses its key there and nothing else.
type pinned struct{ root *x509.Certificate }

func (p pinned) Verify(chain []*x509.Certificate, name string, usage x509.ExtKeyUsage, at time.Time) ([]*x509.Certificate, error) {
	return truststore.VerifyChain([]*x509.Certificate{p.root}, chain, name, usage, at)
}

// start opens the token and dials, once, using one identity and no trust store.
// Everything is in the operation, because the driver measures the process.
func start(e contend.Env) (*contend.Case, error) {
	return contend.Handshakes(func() (*tls.Conn, error) {
		tok, err := open(e)
		if err != nil {
			return nil, err
		}
		root, err := e.Root()
		if err != nil {
			return nil, err
		}
		p := &hsmtls.Provider{Keys: keystore.New(tok), Trust: pinned{root}}
		return p.Dial(context.Background(), "tcp", e.Address, alias)
	}), nil
}

// startTrust is start with the trust store of the token loaded and verified.
func startTrust(e contend.Env) (*contend.Case, error) {
	return contend.Handshakes(func() (*tls.Conn, error) {
		p, err := provider(e)
		if err != nil {
			return nil, err
		}
		return p.Dial(context.Background(), "tcp", e.Address, alias)
	}), nil
}
