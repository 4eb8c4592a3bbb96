// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtls

import (
	"crypto/tls"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
)

// The builders below write the clear-text part of a handshake byte by byte, so
// that each field can be wrong. Their defaults satisfy the policy.

type hello struct {
	version, suite uint16
	compression    uint8
	versions       []uint16 // supported_versions
	noEMS, noReneg bool
	noExtensions   bool
	tail           []byte
}

func vec8(b []byte) []byte  { return append([]byte{byte(len(b))}, b...) }
func vec16(b []byte) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...) }
func u16(v uint16) []byte   { return binary.BigEndian.AppendUint16(nil, v) }

func concat(parts ...[]byte) (all []byte) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// message frames a handshake message, record a record.
func message(typ uint8, body []byte) []byte {
	n := len(body)
	return concat([]byte{typ, byte(n >> 16), byte(n >> 8), byte(n)}, body)
}

func record(typ uint8, payload []byte) []byte {
	return concat([]byte{typ, 3, 3}, vec16(payload))
}

func (h hello) extensions(versions []byte) []byte {
	if h.noExtensions {
		return h.tail
	}
	var list []byte
	if !h.noEMS {
		list = append(list, concat(u16(extExtendedMasterSecret), vec16(nil))...)
	}
	if !h.noReneg {
		list = append(list, concat(u16(extRenegotiationInfo), vec16([]byte{0}))...)
	}
	if h.versions != nil {
		list = append(list, concat(u16(extSupportedVersions), vec16(versions))...)
	}
	return concat(vec16(list), h.tail)
}

func (h hello) versionOr12() uint16 {
	if h.version == 0 {
		return tls.VersionTLS12
	}
	return h.version
}

func (h hello) client() []byte {
	var versions []byte
	for _, v := range h.versions {
		versions = append(versions, u16(v)...)
	}
	return message(msgClientHello, concat(u16(h.versionOr12()), make([]byte, randomSize), vec8(make([]byte, 32)),
		vec16(u16(cipherSuites[0])), vec8([]byte{0}), h.extensions(vec8(versions))))
}

func (h hello) server() []byte {
	suite := h.suite
	if suite == 0 {
		suite = cipherSuites[0]
	}
	var version []byte
	if h.versions != nil {
		version = u16(h.versions[0])
	}
	return message(msgServerHello, concat(u16(h.versionOr12()), make([]byte, randomSize), vec8(make([]byte, 32)),
		u16(suite), []byte{h.compression}, h.extensions(version)))
}

func keyExchange(curveType uint8, curve tls.CurveID, scheme tls.SignatureScheme) []byte {
	return message(msgServerKeyExchange, concat([]byte{curveType}, u16(uint16(curve)), vec8(make([]byte, 65)),
		u16(uint16(scheme)), vec16(make([]byte, 70))))
}

func certificateVerify(scheme tls.SignatureScheme) []byte {
	return message(msgCertificateVerify, concat(u16(uint16(scheme)), vec16(make([]byte, 70))))
}

var (
	goodKeyExchange = keyExchange(namedCurve, tls.X25519, tls.PSSWithSHA256)
	goodVerify      = certificateVerify(tls.PSSWithSHA256)
	certificateMsg  = message(msgCertificate, make([]byte, 2000))
	helloDone       = message(14, nil)
	changeCipher    = record(recordTypeChangeCipherSpec, []byte{1})
	clientKX        = message(16, make([]byte, 66))
)

// step is bytes of one side.
type step struct {
	fromServer bool
	bytes      []byte
}

func sent(messages ...[]byte) step {
	return step{false, record(recordTypeHandshake, concat(messages...))}
}
func answered(messages ...[]byte) step {
	return step{true, record(recordTypeHandshake, concat(messages...))}
}

// play feeds steps to a guard, cut into chunks of size bytes, and returns the
// guard and its verdict.
func play(policy Policy, size int, steps ...step) (*guard, error) {
	g := newGuard(policy)
	for _, s := range steps {
		from := &g.client
		if s.fromServer {
			from = &g.server
		}
		for b := s.bytes; len(b) > 0; {
			n := min(size, len(b))
			if err := g.inspect(from, b[:n]); err != nil {
				return g, err
			}
			b = b[n:]
		}
	}
	return g, nil
}

// chunkSizes cuts a handshake to single bytes, across headers, and not at all.
var chunkSizes = []int{1, 2, 3, 7, 1 << 20}

func fullHandshake() []step {
	return []step{
		sent(hello{}.client()),
		answered(hello{}.server(), certificateMsg, goodKeyExchange, helloDone),
		sent(certificateMsg, clientKX, goodVerify),
		{false, changeCipher},
		{false, []byte("ciphertext")},
		{true, changeCipher},
		{true, []byte("ciphertext")},
	}
}

func TestGuardAccepts(t *testing.T) {
	t.Parallel()
	resumed := []step{
		sent(hello{}.client()),
		answered(hello{}.server(), message(4, make([]byte, 200))),
		{true, changeCipher},
		{true, []byte("ciphertext")},
		{false, changeCipher},
		{false, []byte("ciphertext")},
	}
	// A message split across records, with an alert between them.
	split := fullHandshake()
	flight := split[1].bytes[recordHeaderSize:]
	split[1].bytes = concat(record(22, flight[:3]), record(recordTypeAlert, []byte{1, 0}), record(22, flight[3:50]), record(22, flight[50:]))
	coalesced := fullHandshake()
	coalesced[2].bytes = concat(coalesced[2].bytes, coalesced[3].bytes, coalesced[4].bytes)
	coalesced = append(coalesced[:3], coalesced[5:]...)

	for name, steps := range map[string][]step{"full": fullHandshake(), "resumed": resumed, "split": split, "coalesced": coalesced} {
		for _, size := range chunkSizes {
			g, err := play(Policy{}, size, steps...)
			require.NoError(t, err, "%s in chunks of %d", name, size)
			require.True(t, g.client.done && g.server.done)
			require.True(t, g.seen.extendedMasterSecret)
			if name == "resumed" {
				require.Zero(t, g.seen.serverSignature)
				continue
			}
			require.Equal(t, tls.PSSWithSHA256, g.seen.serverSignature)
			require.Equal(t, tls.PSSWithSHA256, g.seen.clientSignature)
			require.Equal(t, tls.X25519, g.seen.curve)
		}
	}
}

// refusal is a handshake that breaks one rule.
type refusal struct {
	name  string
	rule  Rule
	steps []step
}

// refusals has at least one handshake for each rule of the guard. It also seeds
// the fuzz target.
func refusals() []refusal {
	ch, sh := sent(hello{}.client()), answered(hello{}.server())
	raw := func(fromServer bool, b ...byte) step { return step{fromServer, b} }
	return []refusal{
		{"client of TLS 1.1", RuleVersion, []step{sent(hello{version: tls.VersionTLS11}.client())}},
		{"client of TLS 1.3 only", RuleVersion, []step{sent(hello{versions: []uint16{tls.VersionTLS13}}.client())}},
		{"client without EMS", RuleExtendedMasterSecret, []step{sent(hello{noEMS: true}.client())}},
		{"client without extensions", RuleExtendedMasterSecret, []step{sent(hello{noExtensions: true}.client())}},
		{"server of SSL 3.0", RuleVersion, []step{ch, answered(hello{version: 0x300}.server())}},
		{"server of TLS 1.0", RuleVersion, []step{ch, answered(hello{version: tls.VersionTLS10}.server())}},
		{"server of TLS 1.1", RuleVersion, []step{ch, answered(hello{version: tls.VersionTLS11}.server())}},
		{"server of TLS 1.3", RuleVersion, []step{ch, answered(hello{versions: []uint16{tls.VersionTLS13}}.server())}},
		{"static RSA", RuleCipherSuite, []step{ch, answered(hello{suite: tls.TLS_RSA_WITH_AES_128_GCM_SHA256}.server())}},
		{"CBC with SHA-1", RuleCipherSuite, []step{ch, answered(hello{suite: tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA}.server())}},
		{"RC4", RuleCipherSuite, []step{ch, answered(hello{suite: tls.TLS_ECDHE_RSA_WITH_RC4_128_SHA}.server())}},
		{"3DES", RuleCipherSuite, []step{ch, answered(hello{suite: tls.TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA}.server())}},
		{"DHE", RuleCipherSuite, []step{ch, answered(hello{suite: 0x9e}.server())}},
		{"NULL", RuleCipherSuite, []step{ch, answered(hello{suite: 0xffff}.server())}},
		{"compression", RuleCompression, []step{ch, answered(hello{compression: 1}.server())}},
		{"no renegotiation_info", RuleRenegotiation, []step{ch, answered(hello{noReneg: true}.server())}},
		{"server without EMS", RuleExtendedMasterSecret, []step{ch, answered(hello{noEMS: true}.server())}},
		{"server without extensions", RuleRenegotiation, []step{ch, answered(hello{noExtensions: true}.server())}},
		{"explicit curve", RuleKeyExchange, []step{ch, sh, answered(keyExchange(1, 0, 0))}},
		{"P-224", RuleKeyExchange, []step{ch, sh, answered(keyExchange(namedCurve, 21, tls.PSSWithSHA256))}},
		{"P-521", RuleKeyExchange, []step{ch, sh, answered(keyExchange(namedCurve, tls.CurveP521, tls.PSSWithSHA256))}},
		{"no key exchange", RuleKeyExchange, []step{ch, sh, answered(certificateMsg, helloDone), {true, changeCipher}}},
		{"server signs with SHA-1", RuleSignature, []step{ch, sh, answered(keyExchange(namedCurve, tls.X25519, tls.PKCS1WithSHA1))}},
		{"server signs with MD5", RuleSignature, []step{ch, sh, answered(keyExchange(namedCurve, tls.X25519, 0x0101))}},
		{"server signs with SHA-224", RuleSignature, []step{ch, sh, answered(keyExchange(namedCurve, tls.X25519, 0x0303))}},
		{"client signs with SHA-1", RuleSignature, []step{ch, sh, sent(certificateVerify(tls.ECDSAWithSHA1))}},
		{"client signs with Ed25519", RuleSignature, []step{ch, sh, sent(certificateVerify(tls.Ed25519))}},

		{"HTTP", RuleRecord, []step{raw(false, []byte("GET / HTTP/1.1\r\n")...)}},
		{"SSLv2", RuleRecord, []step{raw(false, 0x80, 0x2e, 1, 0, 2)}},
		{"application data", RuleRecord, []step{raw(true, 23, 3, 3, 0, 1, 0)}},
		{"record version", RuleRecord, []step{raw(true, 22, 2, 0, 0, 1, 0)}},
		{"empty record", RuleRecord, []step{raw(true, 22, 3, 3, 0, 0)}},
		{"oversized record", RuleRecord, []step{raw(true, 22, 3, 3, 0x40, 1)}},
		{"oversized ServerHello", RuleRecord, []step{answered([]byte{msgServerHello, 1, 0, 1})}},
		{"oversized Certificate", RuleRecord, []step{answered([]byte{msgCertificate, 4, 0, 1})}},
		{"no ClientHello", RuleRecord, []step{sent(certificateMsg)}},
		{"two ClientHellos", RuleRecord, []step{ch, ch}},
		{"two ServerHellos", RuleRecord, []step{ch, sh, sh}},
		{"two ServerKeyExchanges", RuleRecord, []step{ch, sh, answered(goodKeyExchange, goodKeyExchange)}},
		{"two CertificateVerifys", RuleRecord, []step{ch, sh, sent(goodVerify, goodVerify)}},
		{"ChangeCipherSpec first", RuleRecord, []step{{true, changeCipher}}},
		{"ChangeCipherSpec before ServerHello", RuleRecord, []step{ch, {true, changeCipher}}},
		{"client's ChangeCipherSpec before ServerHello", RuleRecord, []step{ch, {false, changeCipher}}},
		{"ChangeCipherSpec of 2", RuleRecord, []step{ch, sh, raw(true, 20, 3, 3, 0, 1, 2)}},
		{"long ChangeCipherSpec", RuleRecord, []step{ch, sh, raw(true, 20, 3, 3, 0, 2, 1, 1)}},
		{"message across ChangeCipherSpec", RuleRecord, []step{ch, answered(helloDone[:3]), {true, changeCipher}}},
		{"trailing bytes in ClientHello", RuleRecord, []step{sent(hello{tail: []byte{0}}.client())}},
		{"trailing bytes in ServerHello", RuleRecord, []step{ch, answered(hello{tail: []byte{0}}.server())}},
		{"half an extension", RuleRecord, []step{ch, answered(hello{noExtensions: true, tail: []byte{0, 3, 0, 23, 0}}.server())}},
		{"empty supported_versions", RuleRecord, []step{sent(hello{versions: []uint16{}}.client())}},
		{"odd supported_versions", RuleRecord, []step{sent(hello{noExtensions: true, tail: vec16(concat(u16(extSupportedVersions), vec16([]byte{1, 3})))}.client())}},
		{"truncated ClientHello", RuleRecord, []step{sent(message(msgClientHello, make([]byte, 10)))}},
		{"truncated ServerHello", RuleRecord, []step{ch, answered(message(msgServerHello, make([]byte, 10)))}},
		{"empty ServerKeyExchange", RuleRecord, []step{ch, sh, answered(message(msgServerKeyExchange, nil))}},
		{"truncated ServerKeyExchange", RuleRecord, []step{ch, sh, answered(message(msgServerKeyExchange, goodKeyExchange[4:20]))}},
		{"truncated CertificateVerify", RuleRecord, []step{ch, sh, sent(message(msgCertificateVerify, goodVerify[4:20]))}},
	}
}

func TestGuardRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range refusals() {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, size := range chunkSizes {
				g, err := play(Policy{}, size, tt.steps...)
				requireRule(t, err, tt.rule)
				require.Equal(t, err, g.inspect(&g.client, changeCipher), "a refusal is final")
				require.Equal(t, err, g.inspect(&g.server, nil))
			}
		})
	}
}

// TestGuardRelaxed shows what each switch of Policy lets through, and that it
// lets nothing else through.
func TestGuardRelaxed(t *testing.T) {
	t.Parallel()
	noEMS := Policy{AllowNoExtendedMasterSecret: true}
	g, err := play(noEMS, 1, sent(hello{noEMS: true}.client()), answered(hello{noEMS: true}.server()))
	require.NoError(t, err)
	require.False(t, g.seen.extendedMasterSecret)
	_, err = play(noEMS, 1, sent(hello{noEMS: true}.client()), answered(hello{noEMS: true, noReneg: true}.server()))
	requireRule(t, err, RuleRenegotiation)

	tls13 := Policy{AllowTLS13: true}
	offer := hello{versions: []uint16{tls.VersionTLS13, tls.VersionTLS12}, noEMS: true}
	g, err = play(tls13, 1, sent(offer.client()), answered(hello{versions: []uint16{tls.VersionTLS13}, noEMS: true, noReneg: true}.server()),
		step{true, []byte("ciphertext")}, step{false, []byte("ciphertext")})
	require.NoError(t, err)
	require.True(t, g.client.done && g.server.done, "it steps aside")
	_, err = play(tls13, 1, sent(offer.client()), answered(hello{noEMS: true}.server()))
	requireRule(t, err, RuleExtendedMasterSecret)
	_, err = play(tls13, 1, sent(hello{noEMS: true}.client()))
	requireRule(t, err, RuleExtendedMasterSecret)
	_, err = play(tls13, 1, sent(offer.client()), answered(hello{versions: []uint16{0x0305}}.server()))
	requireRule(t, err, RuleVersion)
}

// TestGuardKeepsLittle shows that a long message which is not judged is not kept,
// and a judged one only as far as it arrived.
func TestGuardKeepsLittle(t *testing.T) {
	t.Parallel()
	g := newGuard(Policy{})
	long := concat([]byte{msgCertificate, 3, 0xff, 0xff}, make([]byte, 10000))
	require.NoError(t, g.inspect(&g.server, record(recordTypeHandshake, long)))
	require.Empty(t, g.server.msg.body)
	g = newGuard(Policy{})
	require.NoError(t, g.inspect(&g.server, record(recordTypeHandshake, []byte{msgServerHello, 0, 0xff, 0xff, 1, 2, 3})))
	require.Less(t, cap(g.server.msg.body), 64)
}
