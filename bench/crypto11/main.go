// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build linux && cgo

// Crypto11 is a contender of the benchmark: crypto11 and crypto/tls, put together
// as their documentation says and with their defaults.
package main

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"

	"github.com/ThalesGroup/crypto11"

	"github.com/hsmtls/hsmtls-go/bench/contend"
)

func main() {
	contend.Main(map[string]func(contend.Env) (*contend.Case, error){
		"sign-pkcs1":   sign("unit_key", crypto.SHA256),
		"sign-pss":     sign("unit_key", &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}),
		"sign-p256":    sign("p256_key", crypto.SHA256),
		"handshake":    dial(nil),
		"resumed":      dial(tls.NewLRUClientSessionCache(64)),
		"https":        https,
		"serve":        serve,
		"start":        start,
		"trust-load":   trustLoad,
		"trust-inject": trustInject,
	})
}

func open(e contend.Env) (*crypto11.Context, error) {
	return crypto11.Configure(&crypto11.Config{Path: e.Module, TokenLabel: e.Token, Pin: e.PIN})
}

func find(c *crypto11.Context, label string) (crypto11.Signer, error) {
	key, err := c.FindKeyPair(nil, []byte(label))
	if err == nil && key == nil {
		err = errors.New("no such key")
	}
	return key, err
}

// config is the configuration of both roles.
func config(e contend.Env) (*tls.Config, error) {
	c, err := open(e)
	if err != nil {
		return nil, err
	}
	key, err := find(c, "unit_key")
	if err != nil {
		return nil, err
	}
	cert, err := c.FindCertificate(nil, []byte("unit"), nil)
	if err != nil {
		return nil, err
	}
	root, err := e.Root()
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(root)
	return &tls.Config{
		MinVersion:   tls.VersionTLS12,
		MaxVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}},
		RootCAs:      roots,
		ClientCAs:    roots,
		ClientAuth:   tls.RequireAndVerifyClientCert,
	}, nil
}

func sign(label string, opts crypto.SignerOpts) func(contend.Env) (*contend.Case, error) {
	return func(e contend.Env) (*contend.Case, error) {
		c, err := open(e)
		if err != nil {
			return nil, err
		}
		key, err := find(c, label)
		if err != nil {
			return nil, err
		}
		digest := sha256.Sum256([]byte("bench"))
		return &contend.Case{Once: func(int) error {
			_, err := key.Sign(rand.Reader, digest[:], opts)
			return err
		}}, nil
	}
}

func dial(cache tls.ClientSessionCache) func(contend.Env) (*contend.Case, error) {
	return func(e contend.Env) (*contend.Case, error) {
		cfg, err := config(e)
		if err != nil {
			return nil, err
		}
		cfg.ClientSessionCache = cache
		return contend.Handshakes(func() (*tls.Conn, error) { return tls.Dial("tcp", e.Address, cfg) }), nil
	}
}

func https(e contend.Env) (*contend.Case, error) {
	cfg, err := config(e)
	if err != nil {
		return nil, err
	}
	return contend.Requests(e, &http.Transport{TLSClientConfig: cfg}), nil
}

func serve(e contend.Env) (*contend.Case, error) {
	cfg, err := config(e)
	if err != nil {
		return nil, err
	}
	ln, err := tls.Listen("tcp", "127.0.0.1:0", cfg)
	if err != nil {
		return nil, err
	}
	return contend.Serve(ln), nil
}

func start(e contend.Env) (*contend.Case, error) {
	return contend.Handshakes(func() (*tls.Conn, error) {
		cfg, err := config(e)
		if err != nil {
			return nil, err
		}
		return tls.Dial("tcp", e.Address, cfg)
	}), nil
}
