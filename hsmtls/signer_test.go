// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtls

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

func TestBindRefusesWeakHashes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	key := w.client.bind(t.Context(), terminal, w.clientKey, nil, nil)
	for _, h := range []crypto.Hash{0, crypto.MD5, crypto.SHA1, crypto.MD5SHA1, crypto.SHA224, crypto.SHA3_256} {
		_, err := key.Sign(rand.Reader, make([]byte, 20), h)
		requireRule(t, err, RuleSignature)
	}
	require.Zero(t, w.clientKey.signed.Load(), "the key is not asked")
}

func TestBindHidesTheKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	key := w.client.bind(t.Context(), terminal, decrypter{w.clientKey}, nil, nil)
	_, ok := key.(crypto.Decrypter)
	require.False(t, ok)
	_, ok = key.(crypto.MessageSigner)
	require.False(t, ok)
}

type decrypter struct{ crypto.Signer }

func (decrypter) Decrypt(io.Reader, []byte, crypto.DecrypterOpts) ([]byte, error) { return nil, nil }

// messageKey signs whole messages only, as a token with nothing but
// CKM_SHA256_RSA_PKCS does.
type messageKey struct{ crypto.Signer }

func (messageKey) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errUnknownAlias
}

func (k messageKey) SignMessage(rand io.Reader, msg []byte, opts crypto.SignerOpts) ([]byte, error) {
	h := opts.HashFunc().New()
	h.Write(msg)
	return k.Signer.Sign(rand, h.Sum(nil), opts)
}

func TestMessageSigner(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for alias, cert := range map[string]tls.Certificate{terminal: w.root.Client("terminal 1"), acquirer: w.root.Server("127.0.0.1")} {
		cert.PrivateKey = messageKey{cert.PrivateKey.(crypto.Signer)}
		w.keys.certs[alias] = &cert
	}
	conn, err := w.dial(t, w.listen(t))
	require.NoError(t, err)
	ping(t, conn)
}

func TestSignTimeout(t *testing.T) {
	t.Parallel()
	t.Run("client", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.client.SignTimeout = 50 * time.Millisecond
		release := w.hang(t, w.clientKey)
		defer release()
		_, err := w.dial(t, w.listen(t))
		require.ErrorIs(t, err, ErrSignTimeout)
	})
	t.Run("client, caller's deadline", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		release := w.hang(t, w.clientKey)
		defer release()
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		_, err := w.client.Dial(ctx, "tcp", w.listen(t).addr, terminal)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorIs(t, err, ErrSignTimeout)
		require.NotErrorIs(t, err, ErrHandshakeTimeout)
	})
	t.Run("client, handshake's deadline", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		seen := newWitness()
		w.client.Observer, w.client.HandshakeTimeout = seen, 200*time.Millisecond
		release := w.hang(t, w.clientKey)
		defer release()
		_, err := w.dial(t, w.listen(t))
		require.ErrorIs(t, err, ErrHandshakeTimeout)
		require.ErrorIs(t, err, ErrSignTimeout)
		require.ErrorIs(t, (<-seen.signatures).Err, ErrSignTimeout)
	})
	t.Run("client, caller gives up", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		ctx, cancel := context.WithCancel(t.Context())
		release := w.hang(t, w.clientKey)
		defer release()
		time.AfterFunc(200*time.Millisecond, cancel)
		_, err := w.client.Dial(ctx, "tcp", w.listen(t).addr, terminal)
		require.ErrorIs(t, err, context.Canceled)
		require.NotErrorIs(t, err, ErrSignTimeout)
	})
	t.Run("server", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.server.SignTimeout = 50 * time.Millisecond
		release := w.hang(t, w.serverKey)
		defer release()
		s := w.listen(t)
		_, err := w.dial(t, s)
		require.Error(t, err)
		require.Error(t, <-s.result)
	})
}

// hang makes key wait until the returned function is called.
func (w *world) hang(t *testing.T, key *countingKey) (release func()) {
	t.Helper()
	gate := make(chan struct{})
	key.before = func() { <-gate }
	return func() { close(gate) }
}

// TestSigningIsBounded shows that a module that never returns collects no more
// than a fixed number of goroutines.
func TestSigningIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		key := &countingKey{Signer: shortRSA{}, before: func() { <-gate }}
		s := &boundSigner{p: new(Provider), key: key, ctx: t.Context(), limit: time.Millisecond, slots: make(chan struct{}, 3)}
		digest := sha256.Sum256(nil)
		for range 10 {
			_, err := s.Sign(rand.Reader, digest[:], crypto.SHA256)
			require.ErrorIs(t, err, ErrSignTimeout)
		}
		require.EqualValues(t, 3, key.signed.Load())
		close(gate)
		synctest.Wait()
		require.Empty(t, s.slots)
	})
}

// TestAbandonedSignatureKeepsItsDigest shows that the key never sees a buffer
// that crypto/tls has taken back.
func TestAbandonedSignatureKeepsItsDigest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gate, seen := make(chan struct{}), make(chan []byte, 1)
		key := recordingKey{shortRSA{}, gate, seen}
		s := &boundSigner{p: new(Provider), key: key, ctx: t.Context(), limit: time.Millisecond, slots: make(chan struct{}, 1)}
		digest := sha256.Sum256(nil)
		buffer := append([]byte(nil), digest[:]...)
		_, err := s.Sign(rand.Reader, buffer, crypto.SHA256)
		require.ErrorIs(t, err, ErrSignTimeout)
		clear(buffer)
		close(gate)
		require.Equal(t, digest[:], <-seen)
	})
}

type recordingKey struct {
	crypto.Signer
	gate chan struct{}
	seen chan []byte
}

func (k recordingKey) Sign(_ io.Reader, digest []byte, _ crypto.SignerOpts) ([]byte, error) {
	<-k.gate
	k.seen <- digest
	return nil, errUnknownAlias
}

// TestSupportedSchemes limits a key to PKCS #1, as a token without PSS is.
func TestSupportedSchemes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	key := rsaKey(t, 2048)
	for alias, cert := range map[string]tls.Certificate{terminal: w.root.Client("terminal 1"), acquirer: w.root.Server("127.0.0.1")} {
		template := testpki.ClientTemplate("terminal 1")
		if alias == acquirer {
			template = testpki.ServerTemplate("127.0.0.1")
		}
		leaf := w.root.Issue(template, key.Public())
		cert = tls.Certificate{
			Certificate: [][]byte{leaf.Raw}, PrivateKey: key,
			SupportedSignatureAlgorithms: []tls.SignatureScheme{tls.PKCS1WithSHA1, tls.PKCS1WithSHA384},
		}
		w.keys.certs[alias] = &cert
	}
	s := w.listen(t)
	conn, err := w.dial(t, s)
	require.NoError(t, err)
	ping(t, conn)
	report, err := Report(conn)
	require.NoError(t, err)
	require.Equal(t, tls.PKCS1WithSHA384, report.ServerSignature)
	require.Equal(t, tls.PKCS1WithSHA384, report.ClientSignature)
}

func newECKey(t *testing.T) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return key
}

// contextKey signs only by the methods that take a context, and waits until that ends
// if it is slow.
type contextKey struct {
	crypto.Signer
	slow bool
}

func (contextKey) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errUnknownAlias
}

func (contextKey) SignMessage(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errUnknownAlias
}

func (k contextKey) SignContext(ctx context.Context, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if k.slow {
		<-ctx.Done()
		return nil, io.ErrUnexpectedEOF
	}
	return k.Signer.Sign(rand.Reader, digest, opts)
}

func (k contextKey) SignMessageContext(ctx context.Context, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	sum := sha256.Sum256(message)
	return k.SignContext(ctx, sum[:], opts)
}

func TestKeyWithContext(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	digest := sha256.Sum256([]byte("message"))
	bound := w.client.bind(t.Context(), terminal, contextKey{Signer: newECKey(t)}, nil, nil)
	public := bound.Public().(*ecdsa.PublicKey)
	sig, err := bound.Sign(rand.Reader, digest[:], crypto.SHA256)
	require.NoError(t, err)
	require.True(t, ecdsa.VerifyASN1(public, digest[:], sig))
	sig, err = bound.(crypto.MessageSigner).SignMessage(rand.Reader, []byte("message"), crypto.SHA256)
	require.NoError(t, err)
	require.True(t, ecdsa.VerifyASN1(public, digest[:], sig))
}

func TestKeyWithContextIsLate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	digest := sha256.Sum256(nil)
	key := contextKey{Signer: newECKey(t), slow: true}
	w.client.SignTimeout = time.Millisecond
	_, err := w.client.bind(t.Context(), terminal, key, nil, nil).Sign(rand.Reader, digest[:], crypto.SHA256)
	require.ErrorIs(t, err, ErrSignTimeout)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w = newWorld(t)
	_, err = w.client.bind(ctx, terminal, key, nil, nil).Sign(rand.Reader, digest[:], crypto.SHA256)
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, ErrSignTimeout)
}

// A lostKey is that of a token that is away.
type lostKey struct{ crypto.Signer }

var errLost = errors.New("token is away")

func (lostKey) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { return nil, errLost }

func TestNotSigned(t *testing.T) {
	t.Parallel()
	for _, tls13 := range []bool{false, true} {
		w := newWorld(t)
		w.client.Policy.AllowTLS13, w.server.Policy.AllowTLS13 = tls13, tls13
		cert := w.root.Client("terminal 1")
		cert.PrivateKey = lostKey{cert.PrivateKey.(crypto.Signer)}
		w.keys.set(terminal, cert)
		_, err := w.dial(t, w.listen(t))
		require.ErrorIs(t, err, ErrNotSigned)
		require.ErrorIs(t, err, errLost, "TLS 1.3 %v", tls13)
		require.NotErrorIs(t, err, ErrSignTimeout)
	}
}
