// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtest

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

const (
	childName = "HSMTEST_CHILD"
	childConf = "HSMTEST_CHILD_CONF"
)

// Child runs the calling test once more in a process of its own, whose SoftHSM
// has the given lines in its configuration, and reports whether this is that
// process:
//
//	if !hsmtest.Child(t, "slots.mechanisms = CKM_RSA_PKCS_KEY_PAIR_GEN,CKM_RSA_PKCS") {
//		return
//	}
//
// SoftHSM reads its configuration when it is initialised, so two tests of one
// process cannot have different ones. The outer test fails if the inner does.
func Child(t *testing.T, lines ...string) bool {
	t.Helper()
	if os.Getenv(childName) == t.Name() {
		return true
	}
	Module(t)
	// A subtest is named by its path, each part an expression of its own.
	pattern := "^" + strings.Join(strings.Split(t.Name(), "/"), "$/^") + "$"
	cmd := exec.Command(os.Args[0], "-test.run="+pattern, "-test.v", "-test.count=1")
	cmd.Env = append(os.Environ(), childName+"="+t.Name(), childConf+"="+strings.Join(lines, "\n"))
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatalf("in a process of its own: %v\n%s", err, out)
	}
	return false
}

func childLines() []string {
	if conf := os.Getenv(childConf); conf != "" {
		return strings.Split(conf, "\n")
	}
	return nil
}
