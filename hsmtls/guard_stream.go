// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtls

// Record and handshake framing (RFC 5246 sections 6.2.1 and 7.4).
const (
	recordTypeChangeCipherSpec = 20
	recordTypeAlert            = 21
	recordTypeHandshake        = 22
	recordHeaderSize           = 5
	maxRecord                  = 1 << 14

	messageHeaderSize = 4
	maxMessage        = 1 << 16 // crypto/tls takes no longer one ...
	maxCertificateMsg = 1 << 18 // ... except for these
)

// stream follows one direction of a handshake across records, however records
// and messages are cut and however the bytes arrive. It keeps at most one
// message, and only of a type that is judged.
type stream struct {
	message func(typ uint8, body []byte) error // told of every judged message
	changed func() error                       // told of ChangeCipherSpec
	done    bool                               // nothing more to see in the clear

	record struct {
		header [recordHeaderSize]byte
		have   int // bytes of header
		left   int // bytes of payload still to come
	}
	msg struct {
		header [messageHeaderSize]byte
		have   int
		left   int
		body   []byte
	}
}

// feed takes the next bytes of the direction.
func (s *stream) feed(b []byte) error {
	for len(b) > 0 && !s.done {
		if s.record.left == 0 {
			n := copy(s.record.header[s.record.have:], b)
			b = b[n:]
			if s.record.have += n; s.record.have < recordHeaderSize {
				return nil
			}
			if err := s.startRecord(); err != nil {
				return err
			}
			continue
		}
		n := min(s.record.left, len(b))
		if err := s.payload(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

func (s *stream) startRecord() error {
	h := s.record.header
	s.record.have, s.record.left = 0, int(h[3])<<8|int(h[4])
	switch {
	case h[0] != recordTypeHandshake && h[0] != recordTypeChangeCipherSpec && h[0] != recordTypeAlert:
		return malformed("record type")
	case h[1] != 3:
		return malformed("record version")
	case s.record.left == 0 || s.record.left > maxRecord:
		return malformed("record length")
	}
	return nil
}

// payload takes the next bytes of the current record.
func (s *stream) payload(b []byte) error {
	s.record.left -= len(b)
	switch s.record.header[0] {
	case recordTypeHandshake:
		return s.handshake(b)
	case recordTypeChangeCipherSpec:
		return s.changeCipherSpec(b)
	}
	return nil // alerts are crypto/tls's business
}

func (s *stream) changeCipherSpec(b []byte) error {
	switch {
	case len(b) != 1 || b[0] != 1 || s.record.left != 0:
		return malformed("ChangeCipherSpec")
	case s.msg.have != 0:
		return malformed("message across ChangeCipherSpec")
	}
	if err := s.changed(); err != nil {
		return err
	}
	s.done = true
	return nil
}

// handshake takes the next bytes of the sequence of handshake messages.
func (s *stream) handshake(b []byte) error {
	for len(b) > 0 {
		if s.msg.have < messageHeaderSize {
			n := copy(s.msg.header[s.msg.have:], b)
			b = b[n:]
			if s.msg.have += n; s.msg.have < messageHeaderSize {
				return nil
			}
			if err := s.startMessage(); err != nil {
				return err
			}
		}
		n := min(s.msg.left, len(b))
		if judged(s.msg.header[0]) {
			s.msg.body = append(s.msg.body, b[:n]...)
		}
		b = b[n:]
		if s.msg.left -= n; s.msg.left > 0 {
			return nil
		}
		if err := s.endMessage(); err != nil {
			return err
		}
	}
	return nil
}

func (s *stream) startMessage() error {
	h := s.msg.header
	s.msg.left = int(h[1])<<16 | int(h[2])<<8 | int(h[3])
	limit := maxMessage
	if h[0] == msgCertificate {
		limit = maxCertificateMsg
	}
	if s.msg.left > limit {
		return malformed("message length")
	}
	return nil
}

func (s *stream) endMessage() error {
	typ, body := s.msg.header[0], s.msg.body
	s.msg.have, s.msg.body = 0, nil
	return s.message(typ, body)
}
