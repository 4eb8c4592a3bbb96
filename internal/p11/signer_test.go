// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package p11

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"testing"

	"github.com/stretchr/testify/require"
)

// recordingToken keeps what reaches the token.
type recordingToken struct {
	have Mechanisms
	got  []signRequest
}

func (r *recordingToken) can(m Mechanism) bool { return r.have.Has(m) }

func (r *recordingToken) sign(_ context.Context, _ *Signer, req signRequest) ([]byte, error) {
	r.got = append(r.got, req)
	return []byte("signature"), nil
}

var allMechanisms = Mechanisms{RSAPKCS, RSAPKCSPSS, ECDSA, SHA256RSAPKCS, SHA256RSAPSS}

func pss(salt int, h crypto.Hash) *rsa.PSSOptions { return &rsa.PSSOptions{SaltLength: salt, Hash: h} }

func TestSignerRefusesBeforeTheToken(t *testing.T) {
	t.Parallel()
	rsaKey, ecKey := &rsa.PublicKey{}, &ecdsa.PublicKey{}
	for _, tt := range []struct {
		name   string
		public crypto.PublicKey
		have   Mechanisms
		length int
		opts   crypto.SignerOpts
		want   error // nil: any
	}{
		{"no hash", rsaKey, allMechanisms, 32, nil, ErrUnsupported},
		{"hash zero", rsaKey, allMechanisms, 32, crypto.Hash(0), ErrUnsupported},
		{"MD5", rsaKey, allMechanisms, 16, crypto.MD5, ErrUnsupported},
		{"SHA-1", rsaKey, allMechanisms, 20, crypto.SHA1, ErrUnsupported},
		{"MD5 and SHA-1", rsaKey, allMechanisms, 36, crypto.MD5SHA1, ErrUnsupported},
		{"SHA-224", rsaKey, allMechanisms, 28, crypto.SHA224, ErrUnsupported},
		{"SHA-512/256", rsaKey, allMechanisms, 32, crypto.SHA512_256, ErrUnsupported},
		{"SHA3-256", rsaKey, allMechanisms, 32, crypto.SHA3_256, ErrUnsupported},
		{"SHA-1 in PSS", rsaKey, allMechanisms, 20, pss(rsa.PSSSaltLengthEqualsHash, crypto.SHA1), ErrUnsupported},
		{"short digest", rsaKey, allMechanisms, 16, crypto.SHA256, nil},
		{"long digest", rsaKey, allMechanisms, 48, crypto.SHA256, nil},
		{"empty digest", rsaKey, allMechanisms, 0, crypto.SHA256, nil},
		{"PSS salt of 20", rsaKey, allMechanisms, 32, pss(20, crypto.SHA256), ErrUnsupported},
		{"PSS salt of the other hash", rsaKey, allMechanisms, 32, pss(48, crypto.SHA256), ErrUnsupported},
		{"PSS with an EC key", ecKey, allMechanisms, 32, pss(32, crypto.SHA256), ErrUnsupported},
		{"token without PSS", rsaKey, Mechanisms{RSAPKCS}, 32, pss(32, crypto.SHA256), ErrUnsupported},
		{"token without PKCS#1", rsaKey, Mechanisms{RSAPKCSPSS}, 32, crypto.SHA256, ErrUnsupported},
		{"token without ECDSA", ecKey, Mechanisms{RSAPKCS}, 32, crypto.SHA256, ErrUnsupported},
		{"token that hashes itself", rsaKey, Mechanisms{SHA256RSAPKCS}, 32, crypto.SHA256, ErrUnsupported},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			token := &recordingToken{have: tt.have}
			s := &Signer{public: tt.public, token: token}
			_, err := s.Sign(nil, make([]byte, tt.length), tt.opts)
			require.Error(t, err)
			if tt.want != nil {
				require.ErrorIs(t, err, tt.want)
			}
			require.Empty(t, token.got)
		})
	}
}

func TestSignerPassesOn(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		opts crypto.SignerOpts
		pss  bool
	}{
		{"PKCS#1", crypto.SHA256, false},
		{"PSS, salt as the hash", pss(rsa.PSSSaltLengthEqualsHash, crypto.SHA256), true},
		{"PSS, salt automatic", pss(rsa.PSSSaltLengthAuto, crypto.SHA256), true},
		{"PSS, salt in bytes", pss(32, crypto.SHA256), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			token := &recordingToken{have: allMechanisms}
			s := &Signer{public: &rsa.PublicKey{}, token: token}
			_, err := s.Sign(nil, make([]byte, 32), tt.opts)
			require.NoError(t, err)
			require.Equal(t, []signRequest{{hash: crypto.SHA256, pss: tt.pss}}, token.got)
		})
	}
}

func TestSignMessage(t *testing.T) {
	t.Parallel()
	message := []byte("message")
	h := crypto.SHA256.New()
	h.Write(message)
	var digest [64]byte
	h.Sum(digest[:0])
	for _, tt := range []struct {
		name string
		have Mechanisms
		opts crypto.SignerOpts
		want signRequest
	}{
		{"digest where it can", allMechanisms, crypto.SHA256, signRequest{hash: crypto.SHA256, sum: digest}},
		{"message where it must", Mechanisms{SHA256RSAPKCS}, crypto.SHA256, signRequest{hash: crypto.SHA256, message: message}},
		{"message with PSS", Mechanisms{SHA256RSAPSS}, pss(32, crypto.SHA256), signRequest{hash: crypto.SHA256, pss: true, message: message}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			token := &recordingToken{have: tt.have}
			_, err := (&Signer{public: &rsa.PublicKey{}, token: token}).SignMessage(nil, message, tt.opts)
			require.NoError(t, err)
			require.Equal(t, []signRequest{tt.want}, token.got)
		})
	}
	token := &recordingToken{have: Mechanisms{SHA256RSAPKCS}}
	_, err := (&Signer{public: &rsa.PublicKey{}, token: token}).SignMessage(nil, message, crypto.SHA384)
	require.ErrorIs(t, err, ErrUnsupported)
	require.Empty(t, token.got)
}
