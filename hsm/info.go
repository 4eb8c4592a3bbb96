// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsm

import (
	"context"
	"fmt"
	"slices"

	"github.com/hsmtls/hsmtls-go/internal/p11"
)

// Info describes a token (PKCS#11 v2.40 section 3.2, CK_TOKEN_INFO).
type Info struct {
	Module       string   // path of the library, symbolic links resolved
	Library      string   // what the library says of itself
	Slot         uint     // changes when a module is loaded anew
	Label        string   // empty on a blank token
	Manufacturer string   // of the device
	Model        string   // of the device
	Serial       string   // of the device; not unique on every kind of token
	Hardware     string   // version, "major.minor"
	Firmware     string   // version, "major.minor"
	FreePublic   int64    // free memory for public objects in bytes; -1 if the token does not say
	FreePrivate  int64    // free memory for private objects in bytes; -1 if the token does not say
	MinPIN       int      // shortest PIN in bytes
	MaxPIN       int      // longest PIN in bytes
	MaxSessions  int      // read/write sessions; 0 means no stated limit
	Initialized  bool     // whether there is anything to open
	Flags        []string // what else the token says of itself, in words
	Can          []string // what the token can do of what this module needs, in words
	Mechanisms   []string // the names of PKCS#11, sorted; numbers for unknown ones
}

func newInfo(t p11.TokenInfo) Info {
	return Info{
		Module:       t.Module,
		Library:      t.Library,
		Slot:         t.Slot,
		Label:        t.Label,
		Manufacturer: t.Manufacturer,
		Model:        t.Model,
		Serial:       t.Serial,
		Hardware:     t.Hardware,
		Firmware:     t.Firmware,
		FreePublic:   t.FreePublic,
		FreePrivate:  t.FreePrivate,
		MinPIN:       t.MinPIN,
		MaxPIN:       t.MaxPIN,
		MaxSessions:  t.MaxSessions,
		Initialized:  t.Flags.Initialized,
		Flags:        flagWords(t.Flags),
		Can:          abilities(t.Mechanisms),
		Mechanisms:   mechanismNames(t.Mechanisms),
	}
}

// flagWords says what the flags mean, the most pressing ones first.
func flagWords(f p11.TokenFlags) []string {
	var words []string
	for _, flag := range []struct {
		set  bool
		word string
	}{
		{f.UserPINLocked, "user PIN locked"},
		{f.UserPINFinalTry, "user PIN: one try left"},
		{f.UserPINCountLow, "user PIN: wrong PIN entered before"},
		{f.UserPINChange, "user PIN must be changed"},
		{f.SOPINLocked, "SO PIN locked"},
		{f.SOPINFinalTry, "SO PIN: one try left"},
		{f.SOPINCountLow, "SO PIN: wrong PIN entered before"},
		{f.Initialized && !f.UserPINSet, "user PIN not set"},
		{f.LoginRequired, "login required"},
		{f.ProtectedPath, "PIN is entered on the device"},
		{f.WriteProtected, "write protected"},
		{f.HasRandom, "random generator"},
	} {
		if flag.set {
			words = append(words, flag.word)
		}
	}
	return words
}

// abilities says what the mechanisms are good for.
func abilities(ms p11.Mechanisms) []string {
	var can []string
	for _, ability := range []struct {
		mechanism p11.Mechanism
		word      string
	}{
		{p11.RSAKeyPairGen, "generate RSA keys"},
		{p11.ECKeyPairGen, "generate EC keys"},
		{p11.RSAPKCS, "sign with RSA PKCS#1 v1.5"},
		{p11.RSAPKCSPSS, "sign with RSA-PSS"},
		{p11.SHA256RSAPKCS, "hash with SHA-256 and sign with RSA PKCS#1 v1.5"},
		{p11.SHA256RSAPSS, "hash with SHA-256 and sign with RSA-PSS"},
		{p11.ECDSA, "sign with ECDSA"},
	} {
		if ms.Has(ability.mechanism) {
			can = append(can, ability.word)
		}
	}
	return can
}

func mechanismNames(ms p11.Mechanisms) []string {
	var names []string
	for _, m := range ms {
		names = append(names, m.String())
	}
	slices.Sort(names)
	return names
}

// List describes the tokens of a module, blank ones included, in slot order.
// It needs no PIN and may be called while tokens are open.
func List(ctx context.Context, module string) ([]Info, error) {
	return Config{Module: module}.List(ctx)
}

// List describes the tokens of c's module, as the function of that name does, and
// in c's ModuleHost. Other fields are not looked at, but for a URI that names the
// module.
func (c Config) List(ctx context.Context) ([]Info, error) {
	c, err := c.resolve()
	if err != nil {
		return nil, fmt.Errorf("hsm: %w", err)
	}
	found, err := p11.List(ctx, c.Module, c.ModuleHost)
	if err != nil {
		return nil, wrap(err)
	}
	infos := make([]Info, 0, len(found))
	for _, t := range found {
		infos = append(infos, newInfo(t))
	}
	return infos, nil
}
