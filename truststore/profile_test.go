// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

// A makeFunc makes a certificate; ca is the issuer to use.
type makeFunc func(t *testing.T, ca *testpki.CA) *x509.Certificate

// server makes a server certificate that edit has changed in one respect.
func server(edit func(*x509.Certificate)) makeFunc {
	return serverWithKey(nil, edit)
}

func serverWithKey(pub func() crypto.PublicKey, edit func(*x509.Certificate)) makeFunc {
	return func(t *testing.T, ca *testpki.CA) *x509.Certificate {
		template := testpki.ServerTemplate("host.example.com")
		edit(template)
		key := ca.Key.Public()
		if pub != nil {
			key = pub()
		}
		return ca.Issue(template, key)
	}
}

func serverWith(extensions func(t *testing.T) []pkix.Extension) makeFunc {
	return func(t *testing.T, ca *testpki.CA) *x509.Certificate {
		return server(func(c *x509.Certificate) { c.ExtraExtensions = extensions(t) })(t, ca)
	}
}

// authorityOf makes an intermediate CA that edit has changed in one respect.
func authorityOf(edit func(*x509.Certificate)) makeFunc {
	return func(t *testing.T, ca *testpki.CA) *x509.Certificate {
		template := &x509.Certificate{
			Subject:               pkix.Name{CommonName: "issuing"},
			IsCA:                  true,
			BasicConstraintsValid: true,
		}
		edit(template)
		return ca.Issue(template, ca.Key.Public())
	}
}

// rootOf makes a root that edit has changed in one respect.
func rootOf(edit func(*x509.Certificate)) makeFunc {
	return func(t *testing.T, ca *testpki.CA) *x509.Certificate {
		template := *ca.Certificate
		template.Extensions, template.AuthorityKeyId = nil, nil
		edit(&template)
		return issue(t, &template, &template, ca.Key.Public(), ca.Key)
	}
}

// edited changes what crypto/x509 has read instead of what is in the DER.
func edited(make makeFunc, edit func(*x509.Certificate)) makeFunc {
	return func(t *testing.T, ca *testpki.CA) *x509.Certificate {
		c := *make(t, ca)
		edit(&c)
		return &c
	}
}

func forged(edit func(t *testing.T, fields []asn1.RawValue)) makeFunc {
	return func(t *testing.T, ca *testpki.CA) *x509.Certificate {
		return forge(t, ca, server(same)(t, ca), func(fields []asn1.RawValue) { edit(t, fields) })
	}
}

func same(*x509.Certificate) {}

func named(names ...string) makeFunc {
	return server(func(c *x509.Certificate) { c.DNSNames = append(c.DNSNames, names...) })
}

func called(cn string) makeFunc {
	return server(func(c *x509.Certificate) { c.Subject.CommonName = cn })
}

func validity(t *testing.T, from, to asn1.RawValue) asn1.RawValue {
	return asn1.RawValue{FullBytes: marshal(t, []asn1.RawValue{from, to})}
}

func timeOf(tag int, s string) asn1.RawValue { return asn1.RawValue{Tag: tag, Bytes: []byte(s)} }

func constraints(t *testing.T, names ...string) []asn1.RawValue {
	var trees []asn1.RawValue
	for _, name := range names {
		trees = append(trees, asn1.RawValue{FullBytes: marshal(t, []asn1.RawValue{tagged(tagDNSName, false, []byte(name))})})
	}
	return []asn1.RawValue{tagged(0, true, marshal(t, trees)[2:])}
}

func many(n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprintf("host-%d.example.com", i))
	}
	return names
}

// breaches has at least one certificate for each rule, which breaks that rule
// and no other.
var breaches = []struct {
	rule string
	on   scope
	name string
	make makeFunc
}{
	{"version", leaf | below, "v2", edited(server(same), func(c *x509.Certificate) { c.Version = 2 })},
	{"serial", leaf | below, "zero", forged(func(t *testing.T, f []asn1.RawValue) { f[1] = asn1.RawValue{FullBytes: marshal(t, 0)} })},
	{"serial", leaf | below, "21 bytes", server(func(c *x509.Certificate) { c.SerialNumber = new(big.Int).Lsh(big.NewInt(1), 159) })},
	{"serial", leaf | below, "negative", edited(server(same), func(c *x509.Certificate) { c.SerialNumber = big.NewInt(-1) })},
	{"issuer", leaf | below, "empty", forged(func(t *testing.T, f []asn1.RawValue) { f[3] = asn1.RawValue{FullBytes: []byte{0x30, 0}} })},
	{"time", leaf | below, "GeneralizedTime before 2050", forged(func(t *testing.T, f []asn1.RawValue) {
		f[4] = validity(t, timeOf(asn1.TagUTCTime, "200101000000Z"), timeOf(asn1.TagGeneralizedTime, "20400101000000Z"))
	})},
	{"time", leaf | below, "no seconds", forged(func(t *testing.T, f []asn1.RawValue) {
		f[4] = validity(t, timeOf(asn1.TagUTCTime, "2001010000Z"), timeOf(asn1.TagUTCTime, "400101000000Z"))
	})},
	{"time", leaf | below, "zone", forged(func(t *testing.T, f []asn1.RawValue) {
		f[4] = validity(t, timeOf(asn1.TagUTCTime, "200101000000+0100"), timeOf(asn1.TagUTCTime, "400101000000Z"))
	})},
	{"signature", leaf | below, "MD5", edited(server(same), func(c *x509.Certificate) { c.SignatureAlgorithm = x509.MD5WithRSA })},
	{"signature", leaf | below, "SHA-1", edited(server(same), func(c *x509.Certificate) { c.SignatureAlgorithm = x509.ECDSAWithSHA1 })},
	{"signature", leaf | below, "Ed25519", edited(server(same), func(c *x509.Certificate) { c.SignatureAlgorithm = x509.PureEd25519 })},
	{"signature", leaf | below, "unknown", edited(server(same), func(c *x509.Certificate) { c.SignatureAlgorithm = x509.UnknownSignatureAlgorithm })},
	{"key", leaf | below, "RSA-1024", serverWithKey(func() crypto.PublicKey { return rsa1024().Public() }, same)},
	{"key", leaf | below, "RSA-2052", serverWithKey(func() crypto.PublicKey { return rsa2052().Public() }, same)},
	{"key", leaf | below, "RSA-8200", serverWithKey(func() crypto.PublicKey {
		return &rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 8199, 1), E: 65537}
	}, same)},
	{"key", leaf | below, "exponent 3", serverWithKey(func() crypto.PublicKey { return &rsa.PublicKey{N: rsa2048().N, E: 3} }, same)},
	{"key", leaf | below, "P-224", serverWithKey(func() crypto.PublicKey { return newEC(elliptic.P224()) }, same)},
	{"key", leaf | below, "Ed25519", serverWithKey(func() crypto.PublicKey {
		pub, _, _ := ed25519.GenerateKey(rand.Reader)
		return pub
	}, same)},
	{"critical", leaf | below, "subject information access", serverWith(func(t *testing.T) []pkix.Extension {
		return []pkix.Extension{ext(t, asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 11}, true, []int{})}
	})},
	{"critical", leaf | below, "authority key id", edited(server(same), func(c *x509.Certificate) {
		c.Extensions = slices.Clone(c.Extensions)
		for i := range c.Extensions {
			c.Extensions[i].Critical = c.Extensions[i].Critical || c.Extensions[i].Id.Equal(oidAuthorityKeyID)
		}
	})},
	{"policy-constraints", leaf | below, "not critical", serverWith(func(t *testing.T) []pkix.Extension {
		return []pkix.Extension{ext(t, oidPolicyConstraints, false, []asn1.RawValue{tagged(0, false, []byte{0})})}
	})},
	{"inhibit-any-policy", leaf | below, "not critical", serverWith(func(t *testing.T) []pkix.Extension {
		return []pkix.Extension{ext(t, oidInhibitAnyPolicy, false, 0)}
	})},
	{"authority-key-id", leaf | below, "leaf without", func(t *testing.T, ca *testpki.CA) *x509.Certificate {
		parent := *ca.Certificate
		parent.SubjectKeyId = nil
		return (&testpki.CA{Certificate: &parent, Key: ca.Key}).Issue(testpki.ServerTemplate("host.example.com"), ca.Key.Public())
	}},
	{"authority-key-id", authority | below, "CA without", func(t *testing.T, ca *testpki.CA) *x509.Certificate {
		parent := *ca.Certificate
		parent.SubjectKeyId = nil
		return authorityOf(same)(t, &testpki.CA{Certificate: &parent, Key: ca.Key})
	}},
	{"authority-key-id-only", leaf | below, "serial number", serverWith(func(t *testing.T) []pkix.Extension {
		return []pkix.Extension{ext(t, oidAuthorityKeyID, false, []asn1.RawValue{tagged(0, false, []byte{1}), tagged(2, false, []byte{1})})}
	})},
	{"authority-key-id-only", authority | root, "empty", rootOf(func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{{Id: oidAuthorityKeyID, Value: []byte{0x30, 0}}}
	})},

	{"ca", authority | below, "no basic constraints", authorityOf(func(c *x509.Certificate) {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage = false, false, x509.KeyUsageCertSign
	})},
	{"ca", authority | below, "cA false", authorityOf(func(c *x509.Certificate) { c.IsCA, c.KeyUsage = false, x509.KeyUsageCertSign })},
	{"ca-critical", authority | below, "not critical", func(t *testing.T, ca *testpki.CA) *x509.Certificate {
		return authorityOf(func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{ext(t, oidBasicConstraints, false, []bool{true})}
		})(t, ca)
	}},
	{"ca-key-usage", authority | below, "cRLSign only", authorityOf(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign })},
	{"ca-key-usage", authority | root, "root", rootOf(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign })},
	{"ca-subject", authority | below, "empty", authorityOf(func(c *x509.Certificate) { c.Subject = pkix.Name{} })},
	{"subject-key-id", authority | below, "missing", edited(authorityOf(same), func(c *x509.Certificate) { c.SubjectKeyId = nil })},
	{"name-constraints-critical", authority | below, "not critical", authorityOf(func(c *x509.Certificate) { c.PermittedDNSDomains = []string{"example.com"} })},
	{"name-constraints-form", authority | below, "leading dot", func(t *testing.T, ca *testpki.CA) *x509.Certificate {
		return constrained(t, ca, constraints(t, ".example.com"))
	}},
	{"name-constraints-form", authority | below, "email host", authorityOf(func(c *x509.Certificate) {
		c.PermittedEmailAddresses, c.PermittedDNSDomainsCritical = []string{"example.com"}, true
	})},
	{"name-constraints-form", authority | below, "URI host", authorityOf(func(c *x509.Certificate) {
		c.ExcludedURIDomains, c.PermittedDNSDomainsCritical = []string{"example.com"}, true
	})},
	{"name-constraints-form", authority | below, "maximum", func(t *testing.T, ca *testpki.CA) *x509.Certificate {
		tree := marshal(t, []asn1.RawValue{tagged(tagDNSName, false, []byte("example.com")), tagged(1, false, []byte{9})})
		return constrained(t, ca, []asn1.RawValue{tagged(0, true, tree)})
	}},
	{"name-constraints-count", authority | below, "65", authorityOf(func(c *x509.Certificate) {
		c.PermittedDNSDomains, c.PermittedDNSDomainsCritical = many(65), true
	})},

	{"root-signature", authority | root, "broken", edited(rootOf(same), func(c *x509.Certificate) {
		c.Signature = bytes.Clone(c.Signature)
		c.Signature[len(c.Signature)-1] ^= 1
	})},
	{"root-key-id", authority | root, "another", rootOf(func(c *x509.Certificate) { c.AuthorityKeyId = []byte("another") })},
	{"root-ext-key-usage", authority | root, "serverAuth", rootOf(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })},

	{"leaf-ca", leaf | below, "CA", server(func(c *x509.Certificate) {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageDigitalSignature
	})},
	{"leaf-ca-usage", leaf | below, "keyCertSign", server(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign })},
	{"leaf-ca-usage", leaf | below, "cRLSign", server(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature | x509.KeyUsageCRLSign })},
	{"leaf-key-usage", leaf | below, "keyEncipherment only", server(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment })},
	{"leaf-key-usage", leaf | below, "no bit set", serverWith(func(t *testing.T) []pkix.Extension {
		return []pkix.Extension{ext(t, oidKeyUsage, true, asn1.BitString{})}
	})},
	{"leaf-name-constraints", leaf | below, "critical", serverWith(func(t *testing.T) []pkix.Extension {
		return []pkix.Extension{ext(t, oidNameConstraints, true, constraints(t, "example.com"))}
	})},
	{"leaf-eku", leaf | below, "missing", server(func(c *x509.Certificate) { c.ExtKeyUsage = nil })},
	{"leaf-eku-critical", leaf | below, "critical", serverWith(func(t *testing.T) []pkix.Extension {
		return []pkix.Extension{ext(t, oidExtKeyUsage, true, []asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 1}})}
	})},
	{"leaf-eku-purpose", leaf | below, "any", server(func(c *x509.Certificate) { c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageAny) })},
	{"leaf-eku-purpose", leaf | below, "codeSigning", server(func(c *x509.Certificate) { c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageCodeSigning) })},
	{"leaf-eku-purpose", leaf | below, "unknown", server(func(c *x509.Certificate) { c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{1, 2, 3}} })},
	{"leaf-san", leaf | below, "missing", server(func(c *x509.Certificate) { c.Subject.CommonName, c.DNSNames = "host", nil })},
	{"leaf-san", leaf | below, "only an otherName", func(t *testing.T, ca *testpki.CA) *x509.Certificate {
		other := marshal(t, []asn1.RawValue{{FullBytes: marshal(t, asn1.ObjectIdentifier{1, 2, 3})}, tagged(0, true, []byte{5, 0})})[2:]
		return server(func(c *x509.Certificate) {
			c.Subject.CommonName, c.DNSNames = "host", nil
			c.ExtraExtensions = []pkix.Extension{ext(t, oidSubjectAltName, false, []asn1.RawValue{tagged(0, true, other)})}
		})(t, ca)
	}},
	{"leaf-san-critical", leaf | below, "critical beside a subject", serverWith(func(t *testing.T) []pkix.Extension {
		return []pkix.Extension{ext(t, oidSubjectAltName, true, []asn1.RawValue{tagged(tagDNSName, false, []byte("host.example.com"))})}
	})},
	{"leaf-san-critical", leaf | below, "not critical without a subject", func(t *testing.T, ca *testpki.CA) *x509.Certificate {
		return server(func(c *x509.Certificate) {
			c.Subject = pkix.Name{}
			c.ExtraExtensions = []pkix.Extension{ext(t, oidSubjectAltName, false, []asn1.RawValue{tagged(tagDNSName, false, []byte("host.example.com"))})}
		})(t, ca)
	}},
	{"leaf-san-count", leaf | below, "65", named(many(64)...)},
	{"leaf-san-dns", leaf | below, "underscore", named("_a.example.com")},
	{"leaf-san-dns", leaf | below, "leading dot", named(".example.com")},
	{"leaf-san-dns", leaf | below, "trailing dot", named("a.example.com.")},
	{"leaf-san-dns", leaf | below, "empty label", named("a..example.com")},
	{"leaf-san-dns", leaf | below, "hyphen first", named("-a.example.com")},
	{"leaf-san-dns", leaf | below, "long label", named(string(bytes.Repeat([]byte("a"), 64)) + ".com")},
	{"leaf-san-dns", leaf | below, "partial wildcard", named("ba*.example.com")},
	{"leaf-san-dns", leaf | below, "inner wildcard", named("foo.*.example.com")},
	{"leaf-san-dns", leaf | below, "two wildcards", named("*.*.example.com")},
	{"leaf-san-dns", leaf | below, "wildcard alone", named("*")},
	{"leaf-san-dns", leaf | below, "address", named("192.0.2.1")},
	{"leaf-san-dns", leaf | below, "space", named("a b.example.com")},
	{"leaf-san-wildcard", leaf | below, "top level", named("*.com")},
	{"leaf-san-wildcard", leaf | below, "registry", named("*.co.uk")},
	{"leaf-san-wildcard", leaf | below, "capitals", named("*.CO.UK")},
	{"leaf-san-wildcard", leaf | below, "hosting", named("*.github.io")},
	{"leaf-san-wildcard", leaf | below, "unknown top level", named("*.internal")},
	{"leaf-email", leaf | below, "email address", server(func(c *x509.Certificate) {
		c.Subject.ExtraNames = []pkix.AttributeTypeAndValue{{Type: oidEmail, Value: "till@example.com"}}
	})},
	{"leaf-common-name", leaf | below, "another host", called("other.example.com")},
	{"leaf-common-name", leaf | below, "other case", called("Host.example.com")},
	{"leaf-common-name", leaf | below, "trailing space", called("other.example.com ")},
	{"leaf-common-name", leaf | below, "not ASCII", called("kösten.example")},
	{"leaf-common-name", leaf | below, "IPv4", called("192.0.2.1")},
	{"leaf-common-name", leaf | below, "IPv4 in hexadecimal", called("0xC0000201")},
	{"leaf-common-name", leaf | below, "IPv4 with zeros", server(func(c *x509.Certificate) {
		c.Subject.CommonName, c.IPAddresses = "192.000.002.001", []net.IP{net.IPv4(192, 0, 2, 1)}
	})},
	{"leaf-common-name", leaf | below, "IPv6 in capitals", server(func(c *x509.Certificate) {
		c.Subject.CommonName, c.IPAddresses = "2001:DB8::1", []net.IP{net.ParseIP("2001:db8::1")}
	})},
	{"leaf-common-name", leaf | below, "IPv6 in full", server(func(c *x509.Certificate) {
		c.Subject.CommonName, c.IPAddresses = "2001:db8:0:0:0:0:0:1", []net.IP{net.ParseIP("2001:db8::1")}
	})},
	{"leaf-common-name", leaf | below, "second of two", server(func(c *x509.Certificate) {
		c.Subject.ExtraNames = []pkix.AttributeTypeAndValue{{Type: oidCommonName, Value: "other.example.com"}, {Type: oidCommonName, Value: "till"}}
	})},

	{"endorser-eku", endorser | below, "server", server(same)},
	{"endorser-eku", endorser | below, "two purposes", func(_ *testing.T, ca *testpki.CA) *x509.Certificate {
		return newNotary(ca, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning} }).cert
	}},
}

func constrained(t *testing.T, ca *testpki.CA, value []asn1.RawValue) *x509.Certificate {
	return authorityOf(func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{ext(t, oidNameConstraints, true, value)}
	})(t, ca)
}

func newEC(curve elliptic.Curve) crypto.PublicKey {
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		panic(err)
	}
	return key.Public()
}

func TestEachRule(t *testing.T) {
	t.Parallel()
	ca := testpki.NewRoot("root")
	for _, tt := range breaches {
		t.Run(tt.rule+"/"+tt.name, func(t *testing.T) {
			t.Parallel()
			c := tt.make(t, ca)
			require.Equal(t, []string{tt.rule}, broken(c, tt.on))

			err := check(c, tt.on)
			var refusal *RejectedError
			require.ErrorAs(t, err, &refusal)
			require.Same(t, c, refusal.Certificate)
			require.Equal(t, tt.rule, brokenRule(t, err))
			require.NotEmpty(t, err.Error())
		})
	}
}

func TestEveryRuleHasABreach(t *testing.T) {
	t.Parallel()
	var rules, broken []string
	for _, r := range profile {
		rules = append(rules, r.name)
	}
	for _, b := range breaches {
		broken = append(broken, b.rule)
	}
	slices.Sort(rules)
	slices.Sort(broken)
	require.Equal(t, slices.Compact(slices.Clone(rules)), rules, "two rules have one name")
	require.Equal(t, rules, slices.Compact(broken))
}

func TestCleanCertificates(t *testing.T) {
	t.Parallel()
	ca := testpki.NewRoot("root")
	rsaCA := testpki.NewRootWithKey("rsa root", rsa2048())
	below2050 := func(c *x509.Certificate) { c.NotAfter = time.Date(2050, 1, 1, 0, 0, 0, 0, time.UTC) }
	for _, tt := range []struct {
		name string
		on   scope
		ca   *testpki.CA
		make makeFunc
	}{
		{"root", authority | root, ca, rootOf(same)},
		{"root with its key id", authority | root, ca, rootOf(func(c *x509.Certificate) { c.AuthorityKeyId = c.SubjectKeyId })},
		{"RSA root", authority | root, rsaCA, rootOf(same)},
		{"CA", authority | below, ca, authorityOf(same)},
		{"CA for servers", authority | below, ca, authorityOf(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })},
		{"constrained CA", authority | below, ca, authorityOf(func(c *x509.Certificate) {
			c.PermittedDNSDomains, c.ExcludedDNSDomains, c.PermittedDNSDomainsCritical = many(60), []string{""}, true
			c.PermittedEmailAddresses, c.PermittedURIDomains = []string{"till@example.com", ".example.com"}, []string{".example.com"}
		})},
		{"server", leaf | below, ca, server(same)},
		{"server under RSA", leaf | below, rsaCA, server(same)},
		{"RSA server", leaf | below, ca, serverWithKey(func() crypto.PublicKey { return rsa2048().Public() }, same)},
		{"P-384", leaf | below, ca, serverWithKey(func() crypto.PublicKey { return newEC(elliptic.P384()) }, same)},
		{"P-521", leaf | below, ca, serverWithKey(func() crypto.PublicKey { return newEC(elliptic.P521()) }, same)},
		{"serial of 20 bytes", leaf | below, ca, server(func(c *x509.Certificate) { c.SerialNumber = new(big.Int).Lsh(big.NewInt(1), 158) })},
		{"to 2050", leaf | below, ca, server(below2050)},
		{"both usages", leaf | below, ca, server(func(c *x509.Certificate) { c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageClientAuth) })},
		{"basic constraints", leaf | below, ca, server(func(c *x509.Certificate) { c.BasicConstraintsValid = true })},
		{"no subject", leaf | below, ca, server(func(c *x509.Certificate) { c.Subject = pkix.Name{} })},
		{"64 names", leaf | below, ca, named(many(63)...)},
		{"wildcard", leaf | below, ca, named("*.example.com")},
		{"localhost", leaf | below, ca, named("localhost")},
		{"person", leaf | below, ca, called("Till No. 4")},
		{"label", leaf | below, ca, called("terminal_pub")},
		{"digits", leaf | below, ca, called("123")},
		{"IPv6", leaf | below, ca, server(func(c *x509.Certificate) {
			c.Subject.CommonName, c.IPAddresses = "2001:db8::1", []net.IP{net.ParseIP("2001:db8::1")}
		})},
		{"URI", leaf | below, ca, server(func(c *x509.Certificate) {
			c.Subject.CommonName, c.URIs = "spiffe://example.com/till", []*url.URL{{Scheme: "spiffe", Host: "example.com", Path: "/till"}}
		})},
		{"who endorses", endorser | below, ca, func(_ *testing.T, ca *testpki.CA) *x509.Certificate { return newNotary(ca, same).cert }},
		{"access information", leaf | below, ca, server(func(c *x509.Certificate) { c.OCSPServer = []string{"http://ocsp.example.com"} })},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			require.Empty(t, broken(tt.make(t, tt.ca), tt.on))
		})
	}
}

// A certificate whose lists this package cannot read breaks the rules about them.
func TestUnreadableListsBreakRules(t *testing.T) {
	t.Parallel()
	ca := testpki.NewRoot("root")
	for id, rule := range map[string]func(*x509.Certificate) bool{
		oidSubjectAltName.String():  hasFewNames,
		oidNameConstraints.String(): hasFewConstraints,
		oidAuthorityKeyID.String():  hasOnlyKeyID,
	} {
		c := edited(server(same), func(c *x509.Certificate) {
			c.Extensions = nil
			for _, oid := range []asn1.ObjectIdentifier{oidSubjectAltName, oidNameConstraints, oidAuthorityKeyID} {
				if oid.String() == id {
					c.Extensions = []pkix.Extension{{Id: oid, Value: []byte{0x30, 5, 1}}}
				}
			}
		})(t, ca)
		require.False(t, rule(c), id)
	}
	require.False(t, hasGoodTimes(&x509.Certificate{RawTBSCertificate: []byte{0x30, 0}}))
}

// broken returns all rules that c breaks.
func broken(c *x509.Certificate, s scope) (names []string) {
	for _, r := range profile {
		if r.on&s != 0 && !r.ok(c) {
			names = append(names, r.name)
		}
	}
	return names
}
