// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtls

import (
	"encoding/binary"
	"slices"
	"testing"
)

// script and steps turn a handshake into fuzz input and back: a direction byte,
// a length of two bytes and that many bytes, over and over.
func script(steps []step) (b []byte) {
	for _, s := range steps {
		direction := byte(0)
		if s.fromServer {
			direction = 1
		}
		b = append(b, direction)
		b = binary.BigEndian.AppendUint16(b, uint16(len(s.bytes)))
		b = append(b, s.bytes...)
	}
	return b
}

func steps(b []byte) (all []step) {
	for len(b) >= 3 {
		n := min(int(binary.BigEndian.Uint16(b[1:])), len(b)-3)
		all = append(all, step{b[0]&1 == 1, b[3 : 3+n]})
		b = b[3+n:]
	}
	return all
}

// FuzzGuard holds the guard to three properties for any bytes: its verdict does
// not depend on how they are cut, what it saw is within the policy unless it
// refused, and it buffers no more than it was sent.
func FuzzGuard(f *testing.F) {
	seeds := [][]step{fullHandshake()}
	for _, r := range refusals() {
		seeds = append(seeds, r.steps)
	}
	if len(seeds) < int(RuleSignature) {
		f.Fatal("the corpus is empty")
	}
	for _, s := range seeds {
		f.Add(script(s), false, false)
		f.Add(script(s), true, true)
	}
	f.Fuzz(func(t *testing.T, b []byte, tls13, noEMS bool) {
		policy := Policy{AllowTLS13: tls13, AllowNoExtendedMasterSecret: noEMS}
		whole, want := play(policy, 1<<20, steps(b)...)
		for _, size := range chunkSizes {
			cut, got := play(policy, size, steps(b)...)
			if (got == nil) != (want == nil) || got != nil && got.Error() != want.Error() {
				t.Fatalf("whole: %v, in chunks of %d: %v", want, size, got)
			}
			if got == nil && cut.seen != whole.seen {
				t.Fatalf("whole: %+v, in chunks of %d: %+v", whole.seen, size, cut.seen)
			}
		}
		if want == nil {
			checkSeen(t, whole)
		}
		if kept := len(whole.client.msg.body) + len(whole.server.msg.body); kept > len(b) {
			t.Fatalf("kept %d of %d bytes", kept, len(b))
		}
	})
}

func checkSeen(t *testing.T, g *guard) {
	t.Helper()
	seen := g.seen
	if seen.serverKeyExchange && (!slices.Contains(curves, seen.curve) || !slices.Contains(signatureSchemes, seen.serverSignature)) {
		t.Fatalf("accepted key exchange %v, %v", seen.curve, seen.serverSignature)
	}
	if seen.clientSignature != 0 && !slices.Contains(signatureSchemes, seen.clientSignature) {
		t.Fatalf("accepted client signature %v", seen.clientSignature)
	}
	aside := g.client.done && g.server.done
	if seen.serverHello && !seen.extendedMasterSecret && !g.policy.AllowNoExtendedMasterSecret && !(aside && g.policy.AllowTLS13) {
		t.Fatal("accepted a ServerHello without extended master secret")
	}
}
