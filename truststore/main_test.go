// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"os"
	"testing"

	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
)

func TestMain(m *testing.M) {
	os.Exit(hsmtest.LeakFree(hsmtest.Main(m)))
}
