// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package examples_test

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestExamplesNameTheRoot is about a root that nobody has named.
func TestExamplesNameTheRoot(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.env = append(w.env, "HSMTLS_ACQUIRER_ROOT=", "HSMTLS_VENDOR_ROOT=", "HSMTLS_TERMINAL_ROOT=")
	for name, root := range map[string]string{
		"dial": "ACQUIRER", "https": "ACQUIRER", "legacydefault": "ACQUIRER", "server": "ACQUIRER",
		"terminal": "ACQUIRER", "tlsconfig": "ACQUIRER", "gateway": "VENDOR", "pos": "TERMINAL",
	} {
		args := []string{"one"}
		if name == "gateway" || name == "pos" {
			args = append(args, "two")
		}
		out, err := w.command(t, name, args...).CombinedOutput()
		require.Error(t, err, name)
		require.Contains(t, string(out), "HSMTLS_"+root+"_ROOT: ", name)
	}
}
