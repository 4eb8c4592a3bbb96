// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtlsgo_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/hsmtls/hsmtls-go"

// imports says what each package may import beside the standard library:
// packages of this module by their path in it, others by their import path. A
// row that ends in "/..." is for the packages below it. A package without a
// row fails the test: what it may depend on is a decision, written down here.
var imports = map[string][]string{
	"internal/p11":              {"github.com/miekg/pkcs11"},
	"internal/alias":            {},
	"internal/unixsocket":       {},
	"hsm":                       {"internal/p11", "github.com/stefanberger/go-pkcs11uri", "golang.org/x/term"},
	"internal/largekey":         {},
	"keystore":                  {"hsm", "internal/alias", "internal/largekey", "internal/p11"},
	"truststore":                {"hsm", "internal/alias", "internal/largekey", "internal/p11", "github.com/smallstep/pkcs7", "golang.org/x/net/publicsuffix"},
	"hsmtls":                    {},
	"est":                       {"internal/largekey", "github.com/smallstep/pkcs7"},
	"fleet":                     {"hsmtls"},
	"tunnel":                    {"hsmtls", "internal/unixsocket"},
	"pairing":                   {"hsmtls", "github.com/coder/websocket"},
	"pairing/screen":            {"pairing", "rsc.io/qr"},
	"cmd/hsmtls":                {"est", "hsm", "hsmtls", "internal/unixsocket", "keystore", "pairing", "pairing/screen", "truststore", "tunnel", "github.com/prometheus/client_golang/prometheus", "github.com/prometheus/client_golang/prometheus/collectors", "github.com/prometheus/client_golang/prometheus/promhttp", "github.com/spf13/cobra", "github.com/spf13/pflag", "golang.org/x/term"},
	"internal/testpki":          {},
	"internal/browsertest":      {"github.com/chromedp/cdproto/page", "github.com/chromedp/chromedp"},
	"internal/e2e":              {},
	"internal/hsmtest":          {"hsm", "go.uber.org/goleak"},
	"internal/hsmtest/faultp11": {"hsm", "internal/hsmtest"},
	"internal/conformance":      {"hsm", "hsmtls", "internal/testpki", "keystore", "truststore"},
	"bench":                     {"bench/contend", "hsm", "internal/alias", "internal/hsmtest", "internal/hsmtest/faultp11", "internal/p11", "internal/testpki", "keystore"},
	"bench/contend":             {},
	"bench/hsmtls":              {"bench/contend", "hsm", "hsmtls", "keystore", "truststore"},
	"bench/crypto11":            {"bench/contend", "github.com/ThalesGroup/crypto11"}, // the peer itself is measured
	"bench/simterminals":        {"internal/testpki"},
	"bench/estate":              {"bench/simterminals", "fleet", "hsm", "hsmtls", "internal/hsmtest", "internal/testpki", "keystore", "truststore"},
	"scripts/sbom":              {},
	"examples/...":              {"fleet", "hsm", "hsmtls", "internal/testpki", "keystore", "pairing", "truststore", "github.com/coder/websocket"},
}

// testOnly are the packages that only tests, examples and each other import.
var testOnly = []string{"internal/testpki", "internal/hsmtest", "internal/hsmtest/faultp11", "internal/conformance"}

// cgo is the only package with C in it.
const cgo = "internal/p11"

// A listed package is what `go list` says of it.
type listed struct {
	ImportPath   string
	GoFiles      []string
	CgoFiles     []string
	Imports      []string
	TestImports  []string
	XTestImports []string
}

func (l listed) name() string {
	return strings.TrimPrefix(strings.TrimPrefix(l.ImportPath, module), "/")
}

// list returns the module's packages, as seen with or without cgo.
func list(t *testing.T, cgoEnabled string) []listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,GoFiles,CgoFiles,Imports,TestImports,XTestImports", "./...")
	cmd.Env = append(os.Environ(), "CGO_ENABLED="+cgoEnabled)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	require.NoError(t, err, "go list ./...")
	var all []listed
	for d := json.NewDecoder(bytes.NewReader(out)); d.More(); {
		var l listed
		require.NoError(t, d.Decode(&l))
		all = append(all, l)
	}
	require.NotEmpty(t, all)
	return all
}

// row returns what the package may import, and whether the table knows it.
func row(name string) ([]string, bool) {
	if allowed, ok := imports[name]; ok {
		return allowed, true
	}
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if allowed, ok := imports[dir+"/..."]; ok {
			return allowed, true
		}
	}
	return nil, false
}

func standard(importPath string) bool {
	first, _, _ := strings.Cut(importPath, "/")
	return !strings.Contains(first, ".")
}

// TestImports compares every package's imports with the table.
func TestImports(t *testing.T) {
	t.Parallel()
	for _, cgoEnabled := range []string{"1", "0"} {
		t.Run("cgo="+cgoEnabled, func(t *testing.T) {
			t.Parallel()
			for _, l := range list(t, cgoEnabled) {
				checkImports(t, l)
			}
		})
	}
}

func checkImports(t *testing.T, l listed) {
	t.Helper()
	name := l.name()
	for _, imported := range slices.Concat(l.TestImports, l.XTestImports) {
		if under, ok := strings.CutPrefix(imported, "github.com/stretchr/testify/"); ok && under != "require" {
			t.Errorf("the tests of %q import testify/%s: require is the only one in use", name, under)
		}
	}
	if len(l.GoFiles)+len(l.CgoFiles) == 0 { // nothing but tests
		return
	}
	if len(l.CgoFiles) > 0 && name != cgo {
		t.Errorf("package %s has cgo in %v: only %s may", name, l.CgoFiles, cgo)
	}
	allowed, ok := row(name)
	if !ok {
		t.Errorf("package %s has no row in deps_test.go: add one, with what it may import, and a line in docs/design.md", name)
	}
	for _, imported := range l.Imports {
		short := strings.TrimPrefix(imported, module+"/")
		if ok && !standard(imported) && !slices.Contains(allowed, short) {
			t.Errorf("package %s imports %s: its row in deps_test.go allows %v", name, short, allowed)
		}
	}
}

// TestImportsTable holds the table itself to the two rules that are not about
// one package: one address for PKCS#11, and test helpers stay out of
// products; the benchmark is none.
func TestImportsTable(t *testing.T) {
	t.Parallel()
	for name, allowed := range imports {
		for _, imported := range allowed {
			pkcs11 := imported == "github.com/ThalesGroup/crypto11" || imported == "github.com/miekg/pkcs11"
			measures := name == "bench" || strings.HasPrefix(name, "bench/") // crypto11 too, as others use it
			require.False(t, pkcs11 && name != cgo && !measures, "%s may not import %s: only %s may", name, imported, cgo)
			helper := slices.Contains(testOnly, imported) && name != "examples/..." && !measures && !slices.Contains(testOnly, name)
			require.False(t, helper, "%s may not import %s: it is for tests and examples", name, imported)
		}
	}
}
