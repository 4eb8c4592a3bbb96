// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package keystore

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
	"github.com/hsmtls/hsmtls-go/internal/p11"
	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

func TestMain(m *testing.M) {
	os.Exit(hsmtest.LeakFree(hsmtest.Main(m)))
}

// authority is a CA of two levels that all tests share.
var authority = sync.OnceValue(func() *testpki.CA { return testpki.NewRoot("acquirer root").NewIntermediate("acquirer issuing") })

// open returns a store on a token of its own.
func open(t *testing.T) *Store {
	t.Helper()
	return New(hsmtest.Token(t))
}

// generate makes a P-256 key, which is quick.
func generate(t *testing.T, s *Store, alias string) *Key {
	t.Helper()
	k, err := s.Generate(t.Context(), alias, P256)
	require.NoError(t, err)
	return k
}

// issue returns a client certificate for key from ca, with the issuer.
func issue(ca *testpki.CA, name string, key crypto.PublicKey) []*x509.Certificate {
	return append([]*x509.Certificate{ca.Issue(testpki.ClientTemplate(name), key)}, ca.Chain()...)
}

// identity makes a key and a certificate for it.
func identity(t *testing.T, s *Store, alias, keyAlias string) (*Key, []*x509.Certificate) {
	t.Helper()
	key := generate(t, s, keyAlias)
	chain := issue(authority(), alias, key.Public())
	require.NoError(t, s.Inject(t.Context(), alias, keyAlias, chain))
	return key, chain
}

// contents lists the certificate objects of a token.
func contents(t *testing.T, device p11.Token) []string {
	t.Helper()
	found, err := device.Certificates(context.Background(), p11.Filter{})
	require.NoError(t, err)
	list := make([]string, len(found))
	for i, c := range found {
		list[i] = fmt.Sprintf("%s %x %x", c.Label, c.ID, sha256.Sum256(c.Value))
	}
	slices.Sort(list)
	return list
}

// write puts an object on the token past all checks.
func write(t *testing.T, s *Store, label string, id []byte, cert *x509.Certificate) {
	t.Helper()
	_, err := s.device.CreateCertificate(t.Context(), p11.CertificateTemplate{Label: label, ID: id, Value: cert.Raw})
	require.NoError(t, err)
}

// An oddToken is a real token that answers differently in some respect.
type oddToken struct {
	p11.Token

	// gate is asked before everything that reaches the token, afterwards after
	// it. Their errors are the token's.
	gate, afterwards func(op string) error

	// keys and made change what the token says of its keys.
	keys func([]p11.Key)
	made func(*p11.Key)

	mechanisms p11.Mechanisms

	// turns keeps readers out while something is written: SoftHSM 2.6.1 shows
	// them objects that are half written.
	turns *sync.RWMutex
}

func around[T any](o *oddToken, op string, call func() (T, error)) (v T, err error) {
	if o.gate != nil {
		if err := o.gate(op); err != nil {
			return v, err
		}
	}
	if o.turns != nil && slices.Contains([]string{"CreateCertificate", "GenerateKey", "Destroy"}, op) {
		o.turns.Lock()
		defer o.turns.Unlock()
	} else if o.turns != nil {
		o.turns.RLock()
		defer o.turns.RUnlock()
	}
	if v, err = call(); err == nil && o.afterwards != nil {
		err = o.afterwards(op)
	}
	return v, err
}

func (o *oddToken) Certificates(ctx context.Context, f p11.Filter) ([]p11.Certificate, error) {
	return around(o, "Certificates", func() ([]p11.Certificate, error) { return o.Token.Certificates(ctx, f) })
}

func (o *oddToken) ReadCertificates(ctx context.Context, objects []p11.Object) ([]p11.Certificate, error) {
	return around(o, "ReadCertificates", func() ([]p11.Certificate, error) { return o.Token.ReadCertificates(ctx, objects) })
}

func (o *oddToken) CreateCertificate(ctx context.Context, c p11.CertificateTemplate) (p11.Certificate, error) {
	return around(o, "CreateCertificate", func() (p11.Certificate, error) { return o.Token.CreateCertificate(ctx, c) })
}

func (o *oddToken) Keys(ctx context.Context, f p11.Filter) ([]p11.Key, error) {
	return o.described(func() ([]p11.Key, error) { return o.Token.Keys(ctx, f) })
}

func (o *oddToken) PrivateKeys(ctx context.Context, f p11.Filter) ([]p11.Key, error) {
	return o.described(func() ([]p11.Key, error) { return o.Token.PrivateKeys(ctx, f) })
}

func (o *oddToken) described(list func() ([]p11.Key, error)) ([]p11.Key, error) {
	keys, err := around(o, "Keys", list)
	if o.keys != nil {
		o.keys(keys)
	}
	return keys, err
}

func (o *oddToken) GenerateKey(ctx context.Context, k p11.KeyTemplate) (p11.Key, error) {
	key, err := around(o, "GenerateKey", func() (p11.Key, error) { return o.Token.GenerateKey(ctx, k) })
	if o.made != nil {
		o.made(&key)
	}
	return key, err
}

func (o *oddToken) Destroy(ctx context.Context, objects ...p11.Object) error {
	_, err := around(o, "Destroy", func() (struct{}, error) { return struct{}{}, o.Token.Destroy(ctx, objects...) })
	return err
}

func (o *oddToken) Signer(ctx context.Context, id []byte, public crypto.PublicKey) (*p11.Signer, error) {
	return around(o, "Signer", func() (*p11.Signer, error) { return o.Token.Signer(ctx, id, public) })
}

func (o *oddToken) Mechanisms() p11.Mechanisms {
	if o.mechanisms != nil {
		return o.mechanisms
	}
	return o.Token.Mechanisms()
}

// weakRSA returns a key that is too short.
func weakRSA(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 1024)
	require.NoError(t, err)
	return k
}
