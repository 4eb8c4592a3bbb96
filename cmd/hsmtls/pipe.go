// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"os"
	"sync/atomic"
	"time"
)

// silence is how long a server may say nothing after the end of standard input.
const silence = 5 * time.Second

// pipe connects both directions until the server closes, or until it is silent
// after standard input has ended.
func pipe(ctx context.Context, conn *tls.Conn, stdin io.Reader, stdout io.Writer) error {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	from := &patientReader{conn: conn}
	go func() {
		_, _ = io.Copy(conn, stdin) // a broken connection is noticed by the reader
		from.end()
	}()
	_, err := io.Copy(stdout, from)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case from.ended.Load() && errors.Is(err, os.ErrDeadlineExceeded):
		return nil
	}
	return err
}

// A patientReader reads without a deadline until the other direction has ended.
type patientReader struct {
	conn  *tls.Conn
	ended atomic.Bool
}

// end says that nothing more will be sent.
func (r *patientReader) end() {
	_ = r.conn.CloseWrite()
	r.ended.Store(true)
	_ = r.conn.SetReadDeadline(time.Now().Add(silence))
}

func (r *patientReader) Read(b []byte) (int, error) {
	if r.ended.Load() {
		_ = r.conn.SetReadDeadline(time.Now().Add(silence))
	}
	return r.conn.Read(b)
}
