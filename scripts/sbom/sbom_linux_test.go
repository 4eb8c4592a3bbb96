// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// build builds a program of this module, and returns its path.
func build(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "dial")
	out, err := exec.Command("go", "build", "-o", path, "../../examples/dial").CombinedOutput()
	require.NoError(t, err, "%s", out)
	return path
}

// bill makes the bill of materials of a program, and returns it as others read
// it, with the notices.
func bill(t *testing.T, program string) (doc map[string]any, notices string) {
	t.Helper()
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	var files [2][2][]byte
	for i := range files {
		dir := t.TempDir()
		out, texts := filepath.Join(dir, "bill.json"), filepath.Join(dir, "texts")
		require.NoError(t, run([]string{program}, out, texts, false))
		for j, path := range []string{out, texts} {
			var err error
			files[i][j], err = os.ReadFile(path)
			require.NoError(t, err)
		}
	}
	require.Equal(t, files[0], files[1], "the same program, another bill")
	require.NoError(t, json.Unmarshal(files[0][0], &doc))
	return doc, string(files[0][1])
}

// TestBill holds the bill to the fields that SPDX 2.3 requires and to what is
// known about a program.
func TestBill(t *testing.T) {
	path := build(t)
	doc, notices := bill(t, path)
	require.Equal(t, "SPDX-2.3", doc["spdxVersion"])
	require.Equal(t, "CC0-1.0", doc["dataLicense"])
	require.Equal(t, documentID, doc["SPDXID"])
	require.NotEmpty(t, doc["name"])
	require.Regexp(t, `^https://[^#]+$`, doc["documentNamespace"])
	require.Equal(t, "2023-11-14T22:13:20Z", doc["creationInfo"].(map[string]any)["created"])
	for _, creator := range doc["creationInfo"].(map[string]any)["creators"].([]any) {
		require.Regexp(t, `^(Tool|Organization|Person): \S`, creator)
	}
	packages := packagesOf(t, doc)
	program := packages[programID]
	require.Equal(t, module, program["name"])
	require.NotEmpty(t, program["versionInfo"])
	require.Equal(t, "Apache-2.0", program["licenseDeclared"])
	require.Equal(t, sumOf(t, path), program["checksums"].([]any)[0].(map[string]any)["checksumValue"])
	linked := packages["SPDXRef-github.com-miekg-pkcs11"]
	require.Equal(t, "BSD-3-Clause", linked["licenseDeclared"])
	require.Contains(t, linked["sourceInfo"], "h1:")
	require.Contains(t, fmt.Sprint(linked["externalRefs"]), "pkg:golang/github.com/miekg/pkcs11@v1.")
	require.Contains(t, packages, "SPDXRef-libc.so.6")
	std := packages["SPDXRef-std"]
	require.Equal(t, strings.TrimPrefix(strings.Fields(runtime.Version())[0], "go"), std["versionInfo"])
	require.Equal(t, "BSD-3-Clause", std["licenseDeclared"])
	require.Contains(t, notices, "\ngithub.com/miekg/pkcs11 v1.")
	require.Contains(t, notices, "\nthe Go standard library ")
}

const module = "github.com/hsmtls/hsmtls-go"

func sumOf(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return fmt.Sprintf("%x", sha256.Sum256(data))
}

// packagesOf returns the packages by their identifiers, each of which is in
// exactly one relationship as what another needs.
func packagesOf(t *testing.T, doc map[string]any) map[string]map[string]any {
	t.Helper()
	id := regexp.MustCompile(`^SPDXRef-[A-Za-z0-9.-]+$`)
	all := make(map[string]map[string]any)
	for _, p := range doc["packages"].([]any) {
		p := p.(map[string]any)
		name := p["SPDXID"].(string)
		require.Regexp(t, id, name)
		require.NotContains(t, all, name)
		for _, field := range []string{"name", "downloadLocation", "licenseDeclared", "licenseConcluded", "copyrightText"} {
			require.NotEmpty(t, p[field], "%s of %s", field, name)
		}
		require.Equal(t, false, p["filesAnalyzed"])
		all[name] = p
	}
	related := make(map[string]bool)
	for _, r := range doc["relationships"].([]any) {
		r := r.(map[string]any)
		require.Contains(t, []string{documentID, programID}, r["spdxElementId"])
		require.Contains(t, []string{"DESCRIBES", "DEPENDS_ON", "DYNAMIC_LINK"}, r["relationshipType"])
		to := r["relatedSpdxElement"].(string)
		require.Contains(t, all, to)
		require.False(t, related[to], to)
		related[to] = true
	}
	require.Len(t, related, len(all))
	return all
}

func TestRunRefuses(t *testing.T) {
	dir := t.TempDir()
	out, texts, script := filepath.Join(dir, "bill"), filepath.Join(dir, "texts"), filepath.Join(dir, "script")
	require.NoError(t, os.WriteFile(script, []byte("#!/bin/sh\n"), 0o600))
	self, err := os.Executable()
	require.NoError(t, err)
	require.Error(t, run(nil, out, texts, false))
	require.Error(t, run([]string{self}, out, "", false))
	t.Setenv("SOURCE_DATE_EPOCH", "yesterday")
	require.Error(t, run([]string{self}, out, texts, false))
	t.Setenv("SOURCE_DATE_EPOCH", "0")
	require.Error(t, run([]string{script}, out, texts, false))
	require.Error(t, run([]string{script}, "", "", true))
	require.NoFileExists(t, out)
	require.NoFileExists(t, texts)
}

func TestNewest(t *testing.T) {
	t.Parallel()
	for want, versions := range map[string][]string{
		"2.34":   {"2.2.5", "2.34", "2.4"},
		"2.2.5":  {"2.2", "2.2.5"},
		"2.38":   {"2.38"},
		"2.17.1": {"2.17.1", "2.9"},
	} {
		got, err := newest(versions)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	_, err := newest(nil)
	require.Error(t, err)
	_, err = newest([]string{"2.2", "PRIVATE"})
	require.Error(t, err)
}
