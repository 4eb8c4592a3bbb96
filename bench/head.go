// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build linux && cgo

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
)

// head describes the machine and the software.
func (b *bench) head() head {
	return head{
		Date:     time.Now().UTC().Format("2006-01-02"),
		Machine:  machine(),
		Quick:    b.quick,
		Versions: b.versions(),
		Peers:    b.missingPeers(),
	}
}

func machine() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	_, rest, _ := strings.Cut(string(text), "model name")
	model, _, _ := strings.Cut(strings.TrimLeft(rest, "\t :"), "\n")
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	system := "Linux"
	release, _ := os.ReadFile("/etc/os-release")
	if _, rest, ok := strings.Cut(string(release), "PRETTY_NAME=\""); ok {
		system, _, _ = strings.Cut(rest, "\"")
	}
	return fmt.Sprintf("%d × %s, %s, kernel %s", runtime.NumCPU(), model, system, strings.TrimSpace(string(kernel)))
}

// versions are the first lines of what the programs say of themselves.
func (b *bench) versions() []string {
	list := []string{runtime.Version()}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, d := range info.Deps {
			if strings.HasSuffix(d.Path, "/crypto11") || d.Path == "github.com/miekg/pkcs11" {
				list = append(list, d.Path+" "+d.Version)
			}
		}
	}
	for _, argv := range [][]string{
		{"softhsm2-util", "--version"}, {"openssl", "version"}, {"gnutls-cli", "--version"}, {"java", "-version"},
		{"/usr/sbin/nginx", "-v"}, {"stunnel4", "-version"}, {filepath.Join(b.bin, "ghostunnel"), "--version"},
		{"dpkg-query", "-W", "p11-kit"}, {"dpkg-query", "-W", "libengine-pkcs11-openssl"}, {"dpkg-query", "-W", "opensc"},
	} {
		if out, err := exec.CommandContext(b.ctx, argv[0], argv[1:]...).CombinedOutput(); err == nil {
			list = append(list, version(argv[0], string(out)))
		}
	}
	return list
}

// version is the first line of a program's answer, with the program's name in it.
func version(program, said string) string {
	lines := strings.Split(strings.TrimSpace(said), "\n")
	line := lines[0]
	if strings.HasPrefix(line, "Initializing") && len(lines) > 1 { // stunnel
		line = lines[1]
	}
	if program == "softhsm2-util" {
		line = "SoftHSM " + line
	}
	return strings.Join(strings.Fields(line), " ")
}

// missingPeers are what scripts/bench could not install or build.
func (b *bench) missingPeers() []string {
	var list []string
	paths, _ := filepath.Glob(filepath.Join(b.bin, "*.missing"))
	for _, path := range paths {
		reason, _ := os.ReadFile(path)
		list = append(list, strings.TrimSuffix(filepath.Base(path), ".missing")+": "+strings.TrimSpace(string(reason)))
	}
	return list
}
