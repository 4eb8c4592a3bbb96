// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package est

import "fmt"

// maxDepth is how deep values may be nested. Signed data with certificates that
// have all extensions of RFC 5280 needs half of it.
const maxDepth = 32

var (
	errBER     = fmt.Errorf("%w: not BER", ErrAnswer)
	errTooDeep = fmt.Errorf("%w: nested too deep", ErrAnswer)
)

// checkBER accepts one value in BER with bounded nesting and nothing behind it,
// lengths within their parents. The parser of package pkcs7 calls itself for each
// level, copies what is below each, and ignores what follows.
func checkBER(data []byte) error {
	rest, err := skipValue(data, 0)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%w: something behind it", errBER)
	}
	return err
}

// skipValue returns what follows the first value.
func skipValue(data []byte, depth int) ([]byte, error) {
	if depth > maxDepth {
		return nil, errTooDeep
	}
	constructed, length, body, err := header(data)
	if err != nil {
		return nil, err
	}
	if length == indefinite {
		return skipIndefinite(body, depth)
	}
	inner, rest := body[:length], body[length:]
	for constructed && len(inner) > 0 {
		if inner, err = skipValue(inner, depth+1); err != nil {
			return nil, err
		}
	}
	return rest, nil
}

// skipIndefinite goes on to the end-of-contents octets (X.690 section 8.1.5).
func skipIndefinite(body []byte, depth int) (rest []byte, err error) {
	for {
		if len(body) >= 2 && body[0] == 0 && body[1] == 0 {
			return body[2:], nil
		}
		if body, err = skipValue(body, depth+1); err != nil {
			return nil, err
		}
	}
}

const indefinite = -1

// header reads tag and length (X.690 section 8.1). Tags of more than one octet do
// not occur in certificates.
func header(data []byte) (constructed bool, length int, body []byte, err error) {
	const (
		longTag     = 0x1f
		constructor = 0x20
		longLength  = 0x80
	)
	if len(data) < 2 || data[0]&longTag == longTag || data[0] == 0 {
		return false, 0, nil, errBER
	}
	constructed = data[0]&constructor != 0
	first, body := data[1], data[2:]
	switch n := int(first &^ longLength); {
	case first < longLength:
		length = int(first)
	case first == longLength && constructed:
		return true, indefinite, body, nil
	case n == 0 || n > 3 || n > len(body):
		return false, 0, nil, errBER
	default:
		for _, octet := range body[:n] {
			length = length<<8 | int(octet)
		}
		body = body[n:]
	}
	if length > len(body) {
		return false, 0, nil, errBER
	}
	return constructed, length, body, nil
}
