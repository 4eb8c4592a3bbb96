// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build unix && cgo

package conformance_test

import (
	"log"
	"os"
	"testing"

	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
)

// stuck is set by a test, in a process of its own, whose calls may never return
// from the module.
var stuck bool

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == hsm.ModuleHostArgument {
		if err := hsm.ServeModule(); err != nil {
			log.Fatal(err)
		}
		return
	}
	code := hsmtest.Main(m)
	if !stuck {
		code = hsmtest.LeakFree(code)
	}
	os.Exit(code)
}
