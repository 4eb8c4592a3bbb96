// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package est

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
)

func TestMain(m *testing.M) {
	code := hsmtest.Main(m)
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}
