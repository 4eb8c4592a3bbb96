// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/hsmtls/hsmtls-go/hsmtls"
)

// maxJSONBody bounds the body of an answer in JSON.
const maxJSONBody = 1 << 20

// An answer is what is said of an HTTP response. JSON has these fields.
type answer struct {
	Status int    `json:"status"`
	Body   string `json:"body"` // the first MiB, with what is no UTF-8 replaced
}

// get makes one request with an http.Client whose only way out is the dialer.
func (a *app) get(ctx context.Context, dialer *hsmtls.Dialer, d dial, own *x509.Certificate) error {
	var r report
	transport := &http.Transport{
		DialTLSContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, d.addr)
			if err != nil {
				return nil, err
			}
			r, err = d.report(conn, own)
			return conn, err
		},
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url(), nil)
	if err != nil {
		return usagef("invalid argument %q for --http: %w", d.http, err)
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if err := a.showAnswer(r, response); err != nil {
		return err
	}
	if response.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("%s answered %s", d.addr, response.Status)
	}
	return nil
}

// url names the server as it has to prove itself, wherever it is dialled.
func (d dial) url() string {
	_, port, _ := net.SplitHostPort(d.addr)
	return "https://" + net.JoinHostPort(d.serverName(), port) + "/" + strings.TrimPrefix(d.http, "/")
}

func (a *app) showAnswer(r report, response *http.Response) error {
	if !a.globals.json {
		r.print(a.stderr)
		fields(a.stderr, "answer", clean(response.Proto+" "+response.Status))
		_, err := io.Copy(a.stdout, response.Body)
		return err
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxJSONBody))
	if err != nil {
		return err
	}
	r.HTTP = &answer{response.StatusCode, strings.ToValidUTF8(string(body), string(utf8.RuneError))}
	return a.showJSON(r)
}
