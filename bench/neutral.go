// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build linux && cgo

package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/hsmtls/hsmtls-go/bench/contend"
)

// neutralMain is the server that every client dials: crypto/tls with a P-256 key
// in a file, which demands a certificate. It listens four times and says where:
// without session tickets, with them, for HTTPS, and for whatever a proxy wants
// to connect to.
func neutralMain() error {
	cfg, err := neutralConfig(os.Getenv("BENCH_FILES"))
	if err != nil {
		return err
	}
	full := cfg.Clone()
	full.SessionTicketsDisabled = true
	var where []string
	for _, serve := range []func(net.Listener){
		func(ln net.Listener) { contend.Serve(tls.NewListener(ln, full)) },
		func(ln net.Listener) { contend.Serve(tls.NewListener(ln, cfg)) },
		func(ln net.Listener) { go answer(tls.NewListener(ln, cfg)) },
		func(ln net.Listener) { contend.Serve(ln) },
	} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		serve(ln)
		where = append(where, ln.Addr().String())
	}
	fmt.Println("ready", strings.Join(where, " "))
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func neutralConfig(files string) (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(filepath.Join(files, "host.pem"), filepath.Join(files, "host.key"))
	if err != nil {
		return nil, err
	}
	root, err := os.ReadFile(filepath.Join(files, "root.pem"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(root) {
		return nil, errors.New("root.pem holds no certificate")
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12,
		Certificates: []tls.Certificate{cert},
		ClientCAs:    roots, ClientAuth: tls.RequireAndVerifyClientCert,
	}, nil
}

// answer serves a page of a kilobyte.
func answer(ln net.Listener) {
	page := []byte(strings.Repeat("0123456789abcde\n", 64))
	server := http.Server{
		Handler:  http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(page) }),
		ErrorLog: log.New(io.Discard, "", 0),
	}
	_ = server.Serve(ln)
}
