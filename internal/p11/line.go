// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo

package p11

import (
	"encoding/gob"
	"errors"
	"os"
)

// A line is a socket over which one question is asked at a time. Both ends wait for
// the other inside read(2), each in a thread, as the caller of a linked library waits
// for it: goroutines that hand messages to each other take twice as long.
type line struct {
	socket *os.File
	encode *gob.Encoder
	decode *gob.Decoder
	room   *bounded
}

func newLine(socket *os.File) *line {
	room := &bounded{File: socket}
	return &line{socket, gob.NewEncoder(socket), gob.NewDecoder(room), room}
}

// maxMessage is how many bytes a question or an answer may have. The longest that is
// asked for is a CRL of 8 MiB.
const maxMessage = 32 << 20

var errLongMessage = errors.New("message of the module host is too long")

// read reads one question or answer.
func (l *line) read(message any) error {
	l.room.left = maxMessage
	return l.decode.Decode(message)
}

// A bounded file gives no more than so many bytes: a host that sends without end is
// not to fill the memory of who has started it.
type bounded struct {
	*os.File
	left int
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, errLongMessage
	}
	n, err := b.File.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}
