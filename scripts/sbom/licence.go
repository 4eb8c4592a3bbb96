// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// noAssertion is SPDX's word for what is not known.
const noAssertion = "NOASSERTION"

// licences are told by what they alone say. The first that fits counts.
var licences = []struct {
	id    string
	words []string // without regard to white space
}{
	{"Apache-2.0", []string{"Apache License Version 2.0, January 2004"}},
	{"MPL-2.0", []string{"Mozilla Public License Version 2.0"}},
	{"BSD-3-Clause", []string{"Redistribution and use in source and binary forms", "Neither the name", "endorse or promote products"}},
	{"BSD-2-Clause", []string{"Redistribution and use in source and binary forms", "list of conditions and the following disclaimer in the documentation"}},
	{"MIT", []string{"Permission is hereby granted, free of charge", "The above copyright notice and this permission notice shall be included"}},
	{"ISC", []string{"Permission to use, copy, modify, and", "distribute this software for any purpose with or without fee is hereby granted"}},
}

// identify returns the identifier of a licence, or NOASSERTION.
func identify(licence string) string {
	folded := strings.ToLower(strings.Join(strings.Fields(licence), " "))
	for _, l := range licences {
		if !slices.ContainsFunc(l.words, func(w string) bool { return !strings.Contains(folded, strings.ToLower(w)) }) {
			return l.id
		}
	}
	return noAssertion
}

// licenceFile matches what holds a licence or has to go with it.
var licenceFile = regexp.MustCompile(`(?i)^(licen[cs]e|copying|copyright|notice|patents)([.-].*)?$`)

// readTexts fills in the licence of a component whose files are in dir.
func (c *component) readTexts(dir string) error {
	c.licence = noAssertion
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.Type().IsRegular() || !licenceFile.MatchString(e.Name()) || filepath.Ext(e.Name()) == ".go" {
			continue
		}
		body, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		c.texts = append(c.texts, text{e.Name(), string(body)})
		if c.licence == noAssertion {
			c.licence = identify(string(body))
		}
	}
	return nil
}

var errNoLicence = errors.New("no licence file")

// readLicences reads those of the main module and of everything linked in. One
// without a text is an error: nobody may pass it on.
func (p *program) readLicences() error {
	dirs, err := p.dirs()
	if err != nil {
		return err
	}
	return p.readLicencesFrom(dirs)
}

// readLicencesFrom is given the folder of each component.
func (p *program) readLicencesFrom(dirs map[string]string) error {
	all := []*component{&p.main}
	for i := range p.linked {
		all = append(all, &p.linked[i])
	}
	for _, c := range all {
		if err := c.readTexts(dirs[c.name]); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		if len(c.texts) == 0 {
			return fmt.Errorf("%s: %w", c.name, errNoLicence)
		}
	}
	return nil
}

// dirs asks Go where the modules are.
func (p *program) dirs() (map[string]string, error) {
	root, err := goCommand("env", "GOROOT")
	if err != nil {
		return nil, err
	}
	dirs := map[string]string{"std": string(bytes.TrimSpace(root))}
	args := []string{"list", "-m", "-json=Path,Version,Dir", p.main.name}
	versions := make(map[string]string)
	for _, c := range p.linked {
		if c.name != "std" {
			versions[c.name] = c.version
			args = append(args, c.name)
		}
	}
	out, err := goCommand(args...)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(out))
	for {
		var m struct{ Path, Version, Dir string }
		if err := d.Decode(&m); errors.Is(err, io.EOF) {
			return dirs, nil
		} else if err != nil {
			return nil, err
		}
		if m.Version != versions[m.Path] {
			return nil, fmt.Errorf("%s is %s in the program and %s in go.mod", m.Path, versions[m.Path], m.Version)
		}
		dirs[m.Path] = m.Dir
	}
}

func goCommand(args ...string) ([]byte, error) {
	cmd := exec.Command("go", args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go %s: %w", args[0], err)
	}
	return out, nil
}

// notices are the licences of what others have written, which have to go with
// the program.
func (p *program) notices() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "These are linked into %s, each under its own licence.\n", p.file)
	for _, c := range p.linked {
		fmt.Fprintf(&b, "\n%s\n%s %s (%s)\n", strings.Repeat("=", 78), c.title(), c.version, c.licence)
		for _, t := range c.texts {
			fmt.Fprintf(&b, "\n---- %s\n\n%s\n", t.file, strings.TrimRight(strings.ReplaceAll(t.body, "\r\n", "\n"), "\n"))
		}
	}
	return b.Bytes()
}

func (c *component) title() string {
	if c.name == "std" {
		return "the Go standard library"
	}
	return c.name
}
