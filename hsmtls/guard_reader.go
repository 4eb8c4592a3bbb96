// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtls

// reader takes TLS presentation language (RFC 5246 section 4) off the front of a
// byte string. Once it was asked for more than there is it has failed for good,
// and all it returns is zero.
type reader struct {
	rest   []byte
	failed bool
}

// finished reports whether everything was read, and nothing beyond.
func (r *reader) finished() bool { return !r.failed && len(r.rest) == 0 }

func (r *reader) take(n int) []byte {
	if r.failed || n > len(r.rest) {
		r.failed = true
		return nil
	}
	front := r.rest[:n:n]
	r.rest = r.rest[n:]
	return front
}

func (r *reader) u8() uint8 {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) u16() uint16 {
	if b := r.take(2); b != nil {
		return uint16(b[0])<<8 | uint16(b[1])
	}
	return 0
}

// vector8 takes a vector with a length of one byte.
func (r *reader) vector8() reader { return r.sub(int(r.u8())) }

// vector16 takes a vector with a length of two bytes.
func (r *reader) vector16() reader { return r.sub(int(r.u16())) }

func (r *reader) sub(n int) reader {
	b := r.take(n)
	return reader{rest: b, failed: r.failed}
}

// u16s takes everything as two-byte numbers, nil unless there is at least one
// and no half.
func (r *reader) u16s() (list []uint16) {
	for !r.failed && len(r.rest) > 0 {
		list = append(list, r.u16())
	}
	if r.failed {
		return nil
	}
	return list
}

// extensions reads the optional extensions block that ends a hello (RFC 5246
// section 7.4.1.4) and reports whether the hello is well formed to its end.
func (r *reader) extensions(each func(id uint16, data reader) bool) bool {
	if r.finished() {
		return true
	}
	list := r.vector16()
	for !list.finished() {
		id := list.u16()
		data := list.vector16()
		if list.failed || !each(id, data) {
			return false
		}
	}
	return r.finished()
}
