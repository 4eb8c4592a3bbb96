// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package keystore

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

// tool returns the path of a program. Without it the test is skipped, or fails
// where everything has to be there.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	if os.Getenv("CI") != "" || os.Getenv("HSMTLS_REQUIRE_SOFTHSM") != "" {
		t.Fatalf("%s is not installed", name)
	}
	t.Skipf("%s is not installed", name)
	return ""
}

// openSlot returns a store on a token of its own and the token's description.
func openSlot(t *testing.T) (*Store, hsm.Info) {
	t.Helper()
	tok := hsmtest.Token(t)
	info, err := tok.Info(t.Context())
	require.NoError(t, err)
	return New(tok), info
}

// freshSlot is the slot in which another process finds the token: SoftHSM
// numbers slots by serial number, except in the process that made the token.
func freshSlot(t *testing.T, info hsm.Info) uint64 {
	t.Helper()
	serial, err := strconv.ParseUint(info.Serial, 16, 64)
	require.NoError(t, err)
	return serial & 0x7fffffff
}

func run(t *testing.T, program string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return string(out)
}

// keytool lists the token as a Java key store. A JDK is much to ask for: it is
// the one program that may be absent everywhere.
func keytool(t *testing.T, info hsm.Info) string {
	t.Helper()
	program, err := exec.LookPath("keytool")
	if err != nil {
		t.Skip("there is no JDK")
	}
	config := filepath.Join(t.TempDir(), "token.cfg")
	text := fmt.Sprintf("name = Test\nlibrary = %s\nslot = %d\n", info.Module, freshSlot(t, info))
	require.NoError(t, os.WriteFile(config, []byte(text), 0o600))
	return run(t, program, "-J-Duser.language=en", "-list", "-v", "-keystore", "NONE", "-storetype", "PKCS11",
		"-addprovider", "SunPKCS11", "-providerArg", config, "-storepass", hsmtest.PIN)
}

// TestJavaSeesIdentity holds that SunPKCS11 has a private key entry with the
// whole chain under the certificate alias.
func TestJavaSeesIdentity(t *testing.T) {
	t.Parallel()
	s, info := openSlot(t)
	root := testpki.NewRoot("root")
	ca := root.NewIntermediate("issuing")
	for keyAlias, typ := range map[string]KeyType{"terminal": RSA2048, "second": P256} {
		key, err := s.Generate(t.Context(), keyAlias, typ)
		require.NoError(t, err)
		chain := append(issue(ca, keyAlias, key.Public()), root.Certificate)
		require.NoError(t, s.Inject(t.Context(), keyAlias+"_pub", keyAlias, chain))
	}
	out := keytool(t, info)
	require.Contains(t, out, "contains 2 entries")
	for _, name := range []string{"terminal", "second"} {
		_, entry, found := strings.Cut(out, "Alias name: "+name+"_pub\n")
		require.True(t, found)
		entry, _, _ = strings.Cut(entry, "Alias name:")
		require.Contains(t, entry, "Entry type: PrivateKeyEntry")
		require.Contains(t, entry, "Certificate chain length: 3")
		require.Contains(t, entry, "Owner: CN="+name)
	}
}

// TestJavaSeesOneIdentityPerKey is what the package comment says about several
// identities with one key.
func TestJavaSeesOneIdentityPerKey(t *testing.T) {
	t.Parallel()
	s, info := openSlot(t)
	key, _ := identity(t, s, "one", "terminal")
	for _, alias := range []string{"two", "three"} {
		require.NoError(t, s.Inject(t.Context(), alias, "terminal", issue(authority(), alias, key.Public())))
	}
	out := keytool(t, info)
	require.Contains(t, out, "contains 1 entry")
	require.Equal(t, 1, strings.Count(out, "PrivateKeyEntry"))
}

// TestPKCS11ToolSeesIdentity holds that the objects pair up by label and id in
// OpenSC's tool.
func TestPKCS11ToolSeesIdentity(t *testing.T) {
	t.Parallel()
	program := tool(t, "pkcs11-tool")
	s, info := openSlot(t)
	key, _ := identity(t, s, "terminal_pub", "terminal")
	out := run(t, program, "--module", info.Module, "--token-label", info.Label, "--login", "--pin", hsmtest.PIN, "--list-objects")
	id := fmt.Sprintf("%x", key.Info().ID)
	for _, object := range []string{"Certificate Object; type = X.509 cert\n  label:      terminal_pub\n", "Private Key Object; EC\n  label:      terminal\n", "Public Key Object; EC"} {
		_, rest, found := strings.Cut(out, object)
		require.True(t, found, object)
		rest, _, _ = strings.Cut(rest, "Object;")
		require.Contains(t, rest, id)
	}
	require.Contains(t, out, "sensitive, always sensitive, never extractable, local")
}

// TestForeignKey opens what OpenSC's tool has made: its key signs and does more,
// and never could leave the token.
func TestForeignKey(t *testing.T) {
	t.Parallel()
	program := tool(t, "pkcs11-tool")
	cfg := hsmtest.Config(t)
	run(t, program, "--module", cfg.Module, "--token-label", cfg.Token, "--login", "--pin", hsmtest.PIN,
		"--keypairgen", "--key-type", "EC:prime256v1", "--label", "foreign", "--id", "0102")
	s := New(hsmtest.Open(t, cfg))
	key, err := s.Key(t.Context(), "foreign")
	require.NoError(t, err)
	require.Equal(t, []byte{1, 2}, key.Info().ID)
	requireSigns(t, key)
	require.NoError(t, s.Inject(t.Context(), "foreign_pub", "foreign", issue(authority(), "x", key.Public())))
}

// TestKeyThatWantsThePINEachTime opens a key with CKA_ALWAYS_AUTHENTICATE, which
// SoftHSM enforces.
func TestKeyThatWantsThePINEachTime(t *testing.T) {
	t.Parallel()
	program := tool(t, "pkcs11-tool")
	cfg := hsmtest.Config(t)
	run(t, program, "--module", cfg.Module, "--token-label", cfg.Token, "--login", "--pin", hsmtest.PIN, "--keypairgen",
		"--key-type", "rsa:2048", "--label", "careful", "--id", "0102", "--usage-sign", "--sensitive", "--always-auth")
	s := New(hsmtest.Open(t, cfg))
	key, err := s.Key(t.Context(), "careful")
	require.NoError(t, err)
	require.True(t, key.Info().Attributes.AlwaysAuthenticate)
	require.NoError(t, s.Inject(t.Context(), "careful_pub", "careful", issue(authority(), "careful", key.Public())))
	for range 3 {
		digest := sha256.Sum256([]byte("message"))
		sig, err := key.Sign(nil, digest[:], crypto.SHA256)
		require.NoError(t, err)
		require.NoError(t, rsa.VerifyPKCS1v15(key.Public().(*rsa.PublicKey), crypto.SHA256, digest[:], sig))
	}
}
