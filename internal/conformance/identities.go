// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package conformance

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"

	"github.com/hsmtls/hsmtls-go/internal/testpki"
	"github.com/hsmtls/hsmtls-go/keystore"
	"github.com/hsmtls/hsmtls-go/truststore"
)

var loopback = []net.IP{net.IPv4(127, 0, 0, 1)}

// chain has ca certify the key of a type.
func (r *trial) chain(ctx context.Context, typ keystore.KeyType, ca *testpki.CA, usage x509.ExtKeyUsage) ([]*x509.Certificate, error) {
	csr, err := r.csr(ctx, typ)
	if err != nil {
		return nil, err
	}
	return append([]*x509.Certificate{ca.SignCSR(csr, usage)}, ca.Chain()...), nil
}

// preferred is the type of a key that was made, zero if none was.
func (r *trial) preferred() keystore.KeyType {
	for _, typ := range keyTypes {
		if r.made[typ] != nil {
			return typ
		}
	}
	return 0
}

// identities injects, replaces and deletes one.
func (r *trial) identities() {
	typ, alias := r.preferred(), r.alias("identity")
	ca := testpki.NewRoot("Conformance Root").NewIntermediate("Conformance CA")
	inject := func(ctx context.Context, write func(chain []*x509.Certificate) error) error {
		if typ == 0 {
			return notTriedError("no key")
		}
		chain, err := r.chain(ctx, typ, ca, x509.ExtKeyUsageClientAuth)
		if err != nil {
			return err
		}
		if err := write(chain); err != nil {
			return err
		}
		return r.holds(ctx, alias, chain)
	}
	r.feature("identity: inject", func(ctx context.Context) error {
		return inject(ctx, func(chain []*x509.Certificate) error {
			return errors.Join(r.keys.Inject(ctx, alias, r.alias(typ), chain), r.keys.Inject(ctx, alias, r.alias(typ), chain))
		})
	})
	r.feature("identity: replace", func(ctx context.Context) error {
		return inject(ctx, func(chain []*x509.Certificate) error { return r.keys.Replace(ctx, alias, chain) })
	})
	r.feature("identity: delete", func(ctx context.Context) error {
		if typ == 0 {
			return notTriedError("no key")
		}
		if err := r.keys.DeleteKey(ctx, r.alias(typ)); !errors.Is(err, keystore.ErrInUse) {
			return fmt.Errorf("deleting a key in use: %w", orMissing(err))
		}
		if err := r.keys.DeleteCertificate(ctx, alias); err != nil {
			return err
		}
		if _, err := r.keys.Identity(ctx, alias); !errors.Is(err, keystore.ErrNotFound) {
			return fmt.Errorf("identity after it was deleted: %w", orMissing(err))
		}
		return nil
	})
}

// holds looks for an identity with the eyes of another store.
func (r *trial) holds(ctx context.Context, alias string, chain []*x509.Certificate) error {
	got, err := keystore.New(r.token).Identity(ctx, alias)
	if err != nil {
		return err
	}
	if len(got.Chain) != len(chain) {
		return fmt.Errorf("chain has %d certificates, want %d", len(got.Chain), len(chain))
	}
	for i := range chain {
		if !got.Chain[i].Equal(chain[i]) {
			return fmt.Errorf("certificate %d is another", i)
		}
	}
	return nil
}

// trust injects an entry, reads it in again and removes it.
func (r *trial) trust() {
	root, alias := testpki.NewRoot("Conformance Root"), r.alias("trust")
	ca := root.NewIntermediate("Conformance CA")
	var store *truststore.Store
	open := func(ctx context.Context) (*truststore.Store, error) {
		return truststore.Open(ctx, r.token, truststore.Config{Anchors: truststore.Anchors{Acquirer: []*x509.Certificate{root.Certificate}}})
	}
	r.feature("trust: inject", func(ctx context.Context) (err error) {
		if store, err = open(ctx); err != nil {
			return err
		}
		entry, err := store.Inject(ctx, alias, ca.Certificate)
		if err == nil && !entry.Private {
			return degradedError("public object: anybody may delete it, without login")
		}
		return err
	})
	r.feature("trust: read and refresh", func(ctx context.Context) error {
		other, err := open(ctx)
		if err != nil {
			return err
		}
		if err := other.Refresh(ctx); err != nil {
			return err
		}
		if n := len(other.Entries()); n != 1 {
			return fmt.Errorf("%d entries, want 1; rejected: %v", n, other.Rejected())
		}
		server := ca.Server("host.test")
		_, err = other.Verify([]*x509.Certificate{server.Leaf}, "host.test", x509.ExtKeyUsageServerAuth, server.Leaf.NotBefore.Add(1))
		return err
	})
	r.feature("trust: remove", func(ctx context.Context) error {
		if err := store.Remove(ctx, alias); err != nil {
			return err
		}
		other, err := open(ctx)
		if err == nil && len(other.Entries()) > 0 {
			err = errors.New("the entry is still there")
		}
		return err
	})
}
