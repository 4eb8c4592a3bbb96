// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build unix && cgo

package e2e

import (
	"flag"
	"os"
	"runtime"
	"strconv"
	"testing"

	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
)

func TestMain(m *testing.M) {
	// TestTunnelSoak does nothing but wait, so it takes nobody's place. The flag on
	// the command line comes after this and wins.
	_ = flag.Set("test.parallel", strconv.Itoa(runtime.GOMAXPROCS(0)+1))
	os.Exit(hsmtest.LeakFree(hsmtest.Main(m)))
}
