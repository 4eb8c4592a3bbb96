// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"crypto/tls"

	"github.com/hsmtls/hsmtls-go/hsmtls"
)

const versionSSL30 = 0x0300

// goodSuites are those of the policy, for servers with either kind of key.
var goodSuites = map[string][]uint16{
	"RSA": {tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256},
	"ECDSA": {tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256},
}

// oldSuites are what a server of before TLS 1.2 has.
var oldSuites = []uint16{
	0xc009, 0xc00a, 0xc013, 0xc014, 0xc008, 0xc012, // ECDHE, AES and 3DES in CBC
	0x0033, 0x0039, 0x0016, // DHE
	0x002f, 0x0035, 0x000a, 0x0005, 0x0004, // RSA
}

var (
	goodGroups  = []uint16{uint16(tls.X25519), uint16(tls.CurveP256), uint16(tls.CurveP384), uint16(tls.CurveP521)}
	smallGroups = []uint16{1, 2, 3, 15, 16, 17, 18, 19, 20, 21} // sect163 and secp160 to secp224
	goodSchemes = []uint16{0x0804, 0x0805, 0x0806, 0x0403, 0x0503, 0x0603, 0x0401, 0x0501, 0x0601}
	allSchemes  = append(append([]uint16{}, goodSchemes...), 0x0201, 0x0203)
)

// A refusal is an offer that a server must not accept.
type refusal struct {
	rule  hsmtls.Rule
	what  string
	offer offer
}

// refusals returns them in the order of the table.
func refusals() []refusal {
	var all []refusal
	for _, v := range []struct {
		name    string
		version uint16
	}{{"SSL 3.0", versionSSL30}, {"TLS 1.0", tls.VersionTLS10}, {"TLS 1.1", tls.VersionTLS11}} {
		all = append(all, refusal{hsmtls.RuleVersion, v.name,
			offer{version: v.version, suites: oldSuites, groups: goodGroups, schemes: allSchemes}})
	}
	for _, s := range weakSuites {
		all = append(all, refusal{hsmtls.RuleCipherSuite, s.what,
			offer{version: tls.VersionTLS12, suites: s.suites, groups: goodGroups, schemes: allSchemes}})
	}
	for _, s := range []struct {
		what    string
		schemes []uint16
	}{
		{"SHA-1 alone", []uint16{0x0201, 0x0203}},
		{"MD5 alone", []uint16{0x0101}},
		{"no signature_algorithms, which means SHA-1", nil},
	} {
		o := good()
		o.schemes = s.schemes
		all = append(all, refusal{hsmtls.RuleSignature, s.what, o})
	}
	small := good()
	small.groups = smallGroups
	return append(all, refusal{hsmtls.RuleKeyExchange, "curves below 256 bits", small})
}

// weakSuites are the kinds of suites that RFC 9325 sections 4.1 and 4.2 rule
// out, by their numbers at IANA.
var weakSuites = []struct {
	what   string
	suites []uint16
}{
	{"NULL encryption", []uint16{0xc006, 0xc010, 0x003b, 0x0002, 0x0001}},
	{"no authentication", []uint16{0xc018, 0xc019, 0xc017, 0xc016, 0xc015, 0x00a7, 0x00a6, 0x006d, 0x006c, 0x003a, 0x0034, 0x001b, 0x0018}},
	{"export ciphers", []uint16{0x0003, 0x0006, 0x0008, 0x000b, 0x000e, 0x0011, 0x0014, 0x0017, 0x0019}},
	{"RC4", []uint16{0xc007, 0xc011, 0x0005, 0x0004}},
	{"3DES", []uint16{0xc008, 0xc012, 0x0016, 0x0013, 0x000a}},
	{"RSA key exchange", []uint16{0x009d, 0x009c, 0xc09d, 0xc09c, 0x003d, 0x003c, 0x0035, 0x002f, 0x0084, 0x0041}},
	{"finite-field Diffie-Hellman", []uint16{0x009f, 0x009e, 0xccaa, 0x006b, 0x0067, 0x0039, 0x0033, 0x00a3, 0x00a2, 0x0038, 0x0032}},
	{"CBC with HMAC-SHA1", []uint16{0xc00a, 0xc009, 0xc014, 0xc013}},
	{"CBC with HMAC-SHA2", []uint16{0xc024, 0xc023, 0xc028, 0xc027}},
}

// good is an offer that keeps the policy.
func good() offer {
	return offer{
		version: tls.VersionTLS12,
		suites:  append(append([]uint16{}, goodSuites["ECDSA"]...), goodSuites["RSA"]...),
		groups:  goodGroups,
		schemes: goodSchemes,
	}
}
