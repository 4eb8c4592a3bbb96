// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"crypto/sha256"
	"debug/buildinfo"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A component is something that the program is made of.
type component struct {
	name    string // the path of a module, "std" of Go's library, or the file name of a C library
	version string // empty of a C library, which is the host's
	sum     string // as in go.sum; empty if unknown
	licence string // SPDX identifier; NOASSERTION if it is not recognised
	texts   []text // of the licence
}

// A text is a file with a licence or a notice.
type text struct{ file, body string }

// A program is an executable file and what is in it.
type program struct {
	file      string // base name
	sha256    string
	main      component
	revision  string
	platform  string      // such as linux/amd64
	linked    []component // the modules in it, by path, and Go's library
	libraries []component // the C libraries it loads at its start, by name
}

var errNoModules = errors.New("the program does not say which modules are in it")

func readProgram(path string) (*program, error) {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if info.Main.Path == "" {
		return nil, fmt.Errorf("%s: %w", path, errNoModules)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	p := &program{
		file:   filepath.Base(path),
		sha256: fmt.Sprintf("%x", sha256.Sum256(data)),
		main:   component{name: info.Main.Path, version: info.Main.Version},
	}
	settings := make(map[string]string)
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	p.revision, p.platform = settings["vcs.revision"], settings["GOOS"]+"/"+settings["GOARCH"]
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		p.linked = append(p.linked, component{name: m.Path, version: m.Version, sum: m.Sum})
	}
	p.linked = append(p.linked, component{name: "std", version: strings.TrimPrefix(info.GoVersion, "go")})
	p.libraries, err = libraries(path)
	return p, err
}

// libraries are the shared ones that the loader looks for.
func libraries(path string) ([]component, error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.ImportedLibraries()
	if err != nil && !errors.Is(err, elf.ErrNoSymbols) {
		return nil, err
	}
	slices.Sort(names)
	var all []component
	for _, name := range names {
		all = append(all, component{name: name, licence: noAssertion})
	}
	return all, nil
}

// oldestLibc is the newest of the versions that the program's symbols ask of
// glibc.
func oldestLibc(path string) (string, error) {
	f, err := elf.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	symbols, err := f.ImportedSymbols()
	if err != nil {
		return "", err
	}
	var versions []string
	for _, s := range symbols {
		if v, ok := strings.CutPrefix(s.Version, "GLIBC_"); ok {
			versions = append(versions, v)
		}
	}
	return newest(versions)
}

// newest returns the greatest of some versions, such as 2.34, by their numbers.
func newest(versions []string) (string, error) {
	if len(versions) == 0 {
		return "", errors.New("the program asks nothing of glibc")
	}
	for _, v := range versions {
		if _, err := numbers(v); err != nil {
			return "", err
		}
	}
	return slices.MaxFunc(versions, func(v, w string) int {
		a, _ := numbers(v)
		b, _ := numbers(w)
		return slices.Compare(a, b)
	}), nil
}

func numbers(version string) (all []int, err error) {
	for part := range strings.SplitSeq(version, ".") {
		n, err := strconv.Atoi(part)
		if err != nil {
			return nil, fmt.Errorf("version %q of glibc: %w", version, err)
		}
		all = append(all, n)
	}
	return all, nil
}
