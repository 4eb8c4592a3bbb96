// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtlsgo_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// docImports are the packages that Go blocks of the documentation may name.
var docImports = map[string]string{
	"context":    "context",
	"crypto":     "crypto",
	"errors":     "errors",
	"est":        module + "/est",
	"fleet":      module + "/fleet",
	"tunnel":     module + "/tunnel",
	"fmt":        "fmt",
	"http":       "net/http",
	"net":        "net",
	"pkix":       "crypto/x509/pkix",
	"slog":       "log/slog",
	"time":       "time",
	"tls":        "crypto/tls",
	"x509":       "crypto/x509",
	"hsm":        module + "/hsm",
	"hsmtls":     module + "/hsmtls",
	"keystore":   module + "/keystore",
	"pairing":    module + "/pairing",
	"truststore": module + "/truststore",
}

// docVariables is what the blocks take as given.
const docVariables = `
	ctx context.Context, acquirerRoots []*x509.Certificate, keys *keystore.Store, trust *truststore.Store,
	p *hsmtls.Provider, handler http.Handler, submit func([]byte) ([]*x509.Certificate, error),
	check func(*x509.Certificate) error, serverIP string,
`

var goBlock = regexp.MustCompile("(?s)```go\n(.*?)```")

// TestDocumentationCompiles builds every Go block of README.md and docs/.
func TestDocumentationCompiles(t *testing.T) {
	pages, err := filepath.Glob("docs/*.md")
	require.NoError(t, err)
	n := 0
	for _, page := range append(pages, "README.md") {
		text, err := os.ReadFile(page)
		require.NoError(t, err)
		for _, block := range goBlock.FindAllStringSubmatch(string(text), -1) {
			n++
			t.Run(fmt.Sprintf("%s/%d", filepath.Base(page), n), func(t *testing.T) {
				t.Parallel()
				compileBlock(t, block[1])
			})
		}
	}
	require.NotZero(t, n, "no Go block found in the documentation")
}

func compileBlock(t *testing.T, block string) {
	t.Helper()
	body := "func block(" + docVariables + ") error {\n{\n" + block + use(t, block) + "\n}\nreturn nil\n}\n"
	if strings.HasPrefix(block, "package ") {
		body = block
	}
	source := body
	if body != block {
		source = "package block\n\nimport (\n" + importsOf(body) + ")\n\n" + body
	}
	file := filepath.Join(t.TempDir(), "block.go")
	require.NoError(t, os.WriteFile(file, []byte(source), 0o600))
	out, err := exec.Command("go", "build", "-o", os.DevNull, file).CombinedOutput()
	require.NoError(t, err, "%s\n%s", out, source)
}

// importsOf imports what the source names.
func importsOf(source string) string {
	var list []string
	for name, path := range docImports {
		if regexp.MustCompile(`\b` + name + `\.[A-Z]`).MatchString(source) {
			list = append(list, fmt.Sprintf("\t%q\n", path))
		}
	}
	slices.Sort(list)
	return strings.Join(list, "")
}

// use mentions every variable that a block declares, so that it need not.
func use(t *testing.T, block string) string {
	t.Helper()
	if strings.HasPrefix(block, "package ") {
		return ""
	}
	file, err := parser.ParseFile(token.NewFileSet(), "block.go", "package p\nfunc f() {\n"+block+"\n}", 0)
	require.NoError(t, err, block)
	var names strings.Builder
	for _, statement := range file.Decls[0].(*ast.FuncDecl).Body.List {
		assign, ok := statement.(*ast.AssignStmt)
		if !ok || assign.Tok != token.DEFINE {
			continue
		}
		for _, left := range assign.Lhs {
			if id, ok := left.(*ast.Ident); ok && id.Name != "_" {
				fmt.Fprintf(&names, "\n_ = %s", id.Name)
			}
		}
	}
	return names.String()
}

var link = regexp.MustCompile(`\]\(([^):#]+)\)`)

// TestDocumentationLinks holds every link to a file of the repository.
func TestDocumentationLinks(t *testing.T) {
	t.Parallel()
	pages, err := filepath.Glob("*.md")
	require.NoError(t, err)
	more, err := filepath.Glob("docs/*.md")
	require.NoError(t, err)
	for _, page := range append(pages, more...) {
		text, err := os.ReadFile(page)
		require.NoError(t, err)
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			require.FileExists(t, filepath.Join(filepath.Dir(page), m[1]), "%s links to it", page)
		}
	}
}
