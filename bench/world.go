// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build linux && cgo

package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/internal/alias"
	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
	"github.com/hsmtls/hsmtls-go/internal/p11"
	"github.com/hsmtls/hsmtls-go/internal/testpki"
	"github.com/hsmtls/hsmtls-go/keystore"
)

// label is that of every token: there is one in each world.
const label = "bench"

// A world is a SoftHSM store with one token, and the files that go with it:
//
//	root.pem           the root of everything
//	unit.pem           of the key unit_key in the token, RSA-2048, for both roles
//	host.pem, host.key the neutral server, P-256
//	peer.pem, peer.key the neutral client, P-256
//	extra.pem, .der    a certificate to inject
//	labels             of the trust entries, one a line
//
// The token has entries trust entries, the root among them. A world with a
// second key (p256_key) has it for signatures only.
type world struct {
	dir     string
	entries int
}

func (w world) config() string { return filepath.Join(w.dir, "softhsm2.conf") }

// worldMain makes a world: a process of its own, because SoftHSM knows one store
// for each process.
func worldMain(args []string) error {
	if len(args) != 3 {
		return errors.New("usage: bench world FOLDER ENTRIES MODULE")
	}
	entries, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	m := maker{world: world{args[0], entries}, ctx: context.Background()}
	return m.make(args[2])
}

type maker struct {
	world
	ctx  context.Context
	tok  *hsm.Token
	root *testpki.CA
}

func (m *maker) make(module string) (err error) {
	pin := hsmtest.Secret(hsmtest.PIN)
	if _, err = hsm.Init(m.ctx, hsm.InitConfig{Module: module, Label: label, SOPIN: hsmtest.Secret(hsmtest.SOPIN), PIN: pin}); err != nil {
		return err
	}
	if m.tok, err = hsm.Open(m.ctx, hsm.Config{Module: module, Token: label, PIN: pin}); err != nil {
		return err
	}
	defer m.tok.Close()
	if m.root, err = readRoot(filepath.Dir(m.dir)); err != nil {
		return err
	}
	return errors.Join(m.keys(), m.files(), m.fill())
}

// keys makes the keys in the token, and their certificates.
func (m *maker) keys() error {
	err := m.identity("unit", keystore.RSA2048)
	if m.entries == 1 {
		err = errors.Join(err, m.identity("p256", keystore.P256))
	}
	return err
}

func (m *maker) identity(name string, typ keystore.KeyType) error {
	keys := keystore.New(m.tok)
	key, err := keys.Generate(m.ctx, name+"_key", typ)
	if err != nil {
		return err
	}
	cert := m.root.Issue(bothRoles(), key.Public())
	if err := m.write(name+".pem", testpki.PEM(cert)); err != nil {
		return err
	}
	return keys.Inject(m.ctx, name, name+"_key", []*x509.Certificate{cert})
}

// bothRoles is a certificate for servers and clients.
func bothRoles() *x509.Certificate {
	t := testpki.ServerTemplate("127.0.0.1", "localhost")
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	return t
}

func (m *maker) write(name string, text []byte) error {
	return os.WriteFile(filepath.Join(m.dir, name), text, 0o600)
}

func (m *maker) files() error {
	extra := m.root.Server("extra.test").Leaf
	return errors.Join(
		m.write("root.pem", testpki.PEM(m.root.Certificate)),
		m.write("extra.pem", testpki.PEM(extra)),
		m.write("extra.der", extra.Raw),
		m.software("host", m.root.Server("127.0.0.1", "localhost")),
		m.software("peer", m.root.Client("peer")),
	)
}

// software writes a certificate whose key is in a file.
func (m *maker) software(name string, cert tls.Certificate) error {
	key, err := keyPEM(cert.PrivateKey)
	if err != nil {
		return err
	}
	return errors.Join(m.write(name+".pem", testpki.PEM(cert.Leaf)), m.write(name+".key", key))
}

func keyPEM(key crypto.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// fill writes the trust entries, as package truststore does, but without looking
// at the token for each of them. The entries are certificates of different
// servers that share a key.
func (m *maker) fill() error {
	if m.entries == 0 {
		return m.write("labels", nil)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	labels := []string{"root"}
	if err := m.entry("root", m.root.Certificate, p11.CategoryAuthority); err != nil {
		return err
	}
	for i := 1; i < m.entries; i++ {
		name := fmt.Sprintf("host-%05d", i)
		cert := m.root.Issue(testpki.ServerTemplate(name+".test"), key.Public())
		if err := m.entry(name, cert, p11.CategoryOther); err != nil {
			return err
		}
		labels = append(labels, name)
	}
	return m.write("labels", []byte(strings.Join(labels, "\n")))
}

func (m *maker) entry(name string, cert *x509.Certificate, category p11.Category) error {
	_, err := m.tok.Device().CreateCertificate(m.ctx, p11.CertificateTemplate{
		Label: name, ID: alias.TrustID(cert.Raw), Value: cert.Raw, Category: category, Private: true,
	})
	return err
}

// writeRoot makes the root that all worlds share.
func writeRoot(dir string) error {
	root := testpki.NewRoot("Bench Root")
	key, err := keyPEM(root.Key)
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "root.pem"), testpki.PEM(root.Certificate), 0o600),
		os.WriteFile(filepath.Join(dir, "root.key"), key, 0o600),
	)
}

func readRoot(dir string) (*testpki.CA, error) {
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "root.pem"), filepath.Join(dir, "root.key"))
	if err != nil {
		return nil, err
	}
	return &testpki.CA{Certificate: pair.Leaf, Key: pair.PrivateKey.(crypto.Signer)}, nil
}
