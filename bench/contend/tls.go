// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build linux && cgo

package contend

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
)

// Root reads the root of every certificate in the benchmark.
func (e Env) Root() (*x509.Certificate, error) {
	text, err := os.ReadFile(filepath.Join(e.Files, "root.pem"))
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("root.pem holds no PEM")
	}
	return x509.ParseCertificate(block.Bytes)
}

// Handshakes is the workload of a client: dial, handshake, close.
func Handshakes(dial func() (*tls.Conn, error)) *Case {
	resumed := new(atomic.Int64)
	return &Case{Resumed: resumed, Once: func(int) error {
		conn, err := dial()
		if err != nil {
			return err
		}
		if conn.ConnectionState().DidResume {
			resumed.Add(1)
		}
		return conn.Close()
	}}
}

// Requests is the workload of an HTTPS client that keeps its connections.
func Requests(e Env, t *http.Transport) *Case {
	t.MaxIdleConnsPerHost = 64
	client := &http.Client{Transport: t}
	return &Case{Once: func(int) error {
		response, err := client.Get("https://" + e.Address + "/")
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return errors.New(response.Status)
		}
		_, err = io.Copy(io.Discard, response.Body)
		return err
	}}
}

// Serve answers every connection until its peer closes it, and does nothing
// else: what is measured is the handshake.
func Serve(ln net.Listener) *Case {
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				return
			}
			go serve(conn)
		}
	}()
	return &Case{Address: ln.Addr().String()}
}

func serve(conn net.Conn) {
	defer conn.Close()
	if c, ok := conn.(*tls.Conn); ok && c.HandshakeContext(context.Background()) != nil {
		return
	}
	_, _ = io.Copy(io.Discard, conn)
}
