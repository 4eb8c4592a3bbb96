// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"

	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/internal/alias"
	"github.com/hsmtls/hsmtls-go/internal/p11"
)

// ReadAnchors returns the anchors on a token, in no particular order, and what
// claims to be one there and is not.
func ReadAnchors(ctx context.Context, tok *hsm.Token) (_ []TokenAnchor, _ []Rejected, err error) {
	defer wrap(&err, "read anchors", "")
	if tok == nil {
		return nil, nil, hsm.ErrClosed
	}
	objects, err := tok.Device().Certificates(ctx, p11.Filter{})
	if err != nil {
		return nil, nil, err
	}
	var v sieve
	return v.anchorsAmong(parsed(objects)), v.rejected, nil
}

func parsed(objects []p11.Certificate) (all []found) {
	for _, o := range objects {
		all = append(all, parse(o))
	}
	return all
}

// anchorsAmong picks the anchors from the objects of a token, in the order of
// their fingerprints.
func (v *sieve) anchorsAmong(objects []found) (anchors []TokenAnchor) {
	for _, f := range objects {
		if !alias.IsAnchorID(f.ID) {
			continue
		}
		a, err := readAnchor(f.Certificate)
		if err != nil {
			v.reject(f, err)
			continue
		}
		anchors = append(anchors, a)
	}
	slices.SortFunc(anchors, func(a, b TokenAnchor) int {
		return cmp.Or(bytes.Compare(a.Certificate.Raw, b.Certificate.Raw), cmp.Compare(a.Kind, b.Kind))
	})
	return slices.CompactFunc(anchors, TokenAnchor.equal)
}

func (a TokenAnchor) equal(b TokenAnchor) bool {
	return a.Kind == b.Kind && a.Certificate.Equal(b.Certificate)
}

// anchors checks those of the caller, which may be none if the token has some.
func (c Config) anchors() (*anchors, error) {
	if c.TokenAnchors {
		return c.Anchors.each()
	}
	return c.Anchors.checked()
}

// vouchers returns the anchors of the moment: the caller's, and those on the token
// if they are to be used. It raises the alarm about one that should be there.
func (s *Store) vouchers(ctx context.Context, v *sieve, objects []found) (*anchors, error) {
	if !s.given.TokenAnchors {
		return s.anchors, nil
	}
	onToken := v.anchorsAmong(objects)
	last := s.snapshot().anchors
	missing := s.missing(last, onToken)
	for _, fingerprint := range missing {
		s.log.ErrorContext(ctx, "ALARM: anchor is not on the token any more", "sha256", hex.EncodeToString(fingerprint[:]))
	}
	if last.onToken != nil && slices.EqualFunc(last.onToken, onToken, TokenAnchor.equal) {
		return last, nil // so that what it has proved need not be proved again
	}
	now, err := s.given.Anchors.with(onToken).each()
	if err != nil {
		return nil, err
	}
	now.onToken, now.missing = append([]TokenAnchor{}, onToken...), missing
	return now, nil
}

// missing returns the anchors that are expected, or were there, and are not.
func (s *Store) missing(last *anchors, onToken []TokenAnchor) (missing [][sha256.Size]byte) {
	expected := slices.Concat(s.given.ExpectAnchors, last.missing)
	for _, a := range last.onToken {
		expected = append(expected, a.Fingerprint())
	}
	for _, want := range expected {
		there := slices.ContainsFunc(onToken, func(a TokenAnchor) bool { return a.Fingerprint() == want })
		if !there && !slices.Contains(missing, want) {
			missing = append(missing, want)
		}
	}
	return missing
}

// TokenAnchors returns the anchors on the token that are in use, owner roots among
// them, as of the last reading. It does not reach the token.
func (s *Store) TokenAnchors() []TokenAnchor { return slices.Clone(s.snapshot().anchors.onToken) }

// MissingAnchors returns the SHA-256 of the anchors that are expected on the token
// and were not there when it was last read: those of [Config], and those that this
// Store has seen before. What only they have vouched for is not trusted. An anchor
// can be removed by anybody on many tokens, so this is an alarm until the anchor
// is back. It does not reach the token.
func (s *Store) MissingAnchors() [][32]byte { return slices.Clone(s.snapshot().anchors.missing) }
