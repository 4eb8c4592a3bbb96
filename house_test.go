// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtlsgo_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// header is how every Go and C file begins.
const header = "// SPDX-License-Identifier: Apache-2.0\n// Copyright The hsmtls-go Authors\n"

// foreign matches what only means something on the machine or the network the
// text was written on. The classes of one letter keep it from matching itself.
var foreign = regexp.MustCompile(`(?:^|[^A-Za-z0-9_.])/(?:w[o]rk|f[a]rm)/` +
	`|/tmp/contrac[t]|(?:proxy|sum)\.golan[g]\.org|registry\.npmj[s]|deb\.debia[n]\.org|/home/[a-z]+/|/User[s]/`)

// files returns the paths of the repository's files: everything in its folder
// but what is built, and the hidden folders that are git's or somebody's own.
func files(t *testing.T) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		hidden := strings.HasPrefix(d.Name(), ".") && path != "." && path != ".ci" && path != ".github"
		if d.IsDir() && (hidden || path == "bin" || path == "release") {
			return fs.SkipDir
		}
		if d.Type().IsRegular() && path != ".git" { // which is a file in a linked work tree
			all = append(all, path)
		}
		return nil
	})
	require.NoError(t, err)
	require.NotEmpty(t, all)
	return all
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	return text
}

func TestSourceFilesHaveHeader(t *testing.T) {
	t.Parallel()
	for _, path := range files(t) {
		switch filepath.Ext(path) {
		case ".go", ".c", ".h":
			if text := string(read(t, path)); !strings.HasPrefix(text, header) {
				t.Errorf("%s does not begin with the two header lines", path)
			}
		}
	}
}

// TestFilesSpeakOfThemselves keeps paths and hosts of one machine out of every
// text file. go.sum has no words in it.
func TestFilesSpeakOfThemselves(t *testing.T) {
	t.Parallel()
	for _, path := range files(t) {
		text := read(t, path)
		if filepath.Base(path) == "go.sum" || bytes.IndexByte(text, 0) >= 0 {
			continue
		}
		for i, line := range bytes.Split(text, []byte("\n")) {
			if found := foreign.Find(line); found != nil {
				t.Errorf("%s:%d: %q means nothing elsewhere", path, i+1, found)
			}
		}
	}
}

// TestPackageComments holds that each package is introduced once, in the words
// that go doc expects.
func TestPackageComments(t *testing.T) {
	t.Parallel()
	comments := make(map[string][]string) // by folder: the files with a package comment
	for _, path := range files(t) {
		if filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments|parser.PackageClauseOnly)
		require.NoError(t, err)
		dir := filepath.Dir(path)
		comments[dir] = append(comments[dir], introduced(t, path, file)...)
	}
	require.NotEmpty(t, comments)
	for dir, with := range comments {
		if len(with) != 1 {
			t.Errorf("package in %s: %d package comments, want 1: %v", dir, len(with), with)
		}
	}
}

// introduced returns the path if the file has a package comment.
func introduced(t *testing.T, path string, file *ast.File) []string {
	t.Helper()
	if file.Doc == nil {
		return nil
	}
	want := "Package " + file.Name.Name + " "
	if file.Name.Name == "main" {
		want = filepath.Base(filepath.Dir(path)) + " "
	}
	text := file.Doc.Text()
	if got := text[:min(len(want), len(text))]; !strings.EqualFold(got, want) {
		t.Errorf("%s: the package comment begins %q, want %q", path, got, want)
	}
	return []string{path}
}
