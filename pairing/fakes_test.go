// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package pairing

import (
	"crypto"
	"io"
	"net/http/httptest"
	"os"
	"time"
)

// countingSigner counts signatures.
type countingSigner struct {
	crypto.Signer
	n int
}

func (s *countingSigner) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	s.n++
	return s.Signer.Sign(random, digest, opts)
}

// slowWriter has the deadline pass as soon as it is set.
type slowWriter struct {
	*httptest.ResponseRecorder
	body *io.PipeWriter
}

func (s *slowWriter) SetReadDeadline(at time.Time) error {
	if !at.IsZero() {
		return s.body.CloseWithError(os.ErrDeadlineExceeded)
	}
	return nil
}
