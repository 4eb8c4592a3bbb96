// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtls

import (
	"os"
	"testing"

	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
)

func TestMain(m *testing.M) { os.Exit(hsmtest.LeakFree(m.Run())) }
