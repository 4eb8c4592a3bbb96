// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtls

import (
	"crypto/fips140"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// fipsTests is what TestFIPS repeats in FIPS mode. The whole suite passes there
// too: GODEBUG=fips140=only go test ./hsmtls
const fipsTests = "^(TestDial|TestMatrix|TestBareConfigs|TestTLS13|TestMessageSigner|TestSupportedSchemes|" +
	"TestFIPSMode|TestClientSessionLifetime|TestServerSessionLifetime|TestTicketKeys|TestHTTPServer)$"

// TestFIPS runs the handshakes again with the FIPS 140-3 module, which can only
// be chosen when a program starts.
func TestFIPS(t *testing.T) {
	t.Parallel()
	if fips140.Enabled() {
		return // the suite itself already runs in FIPS mode
	}
	for _, mode := range []string{"on", "only"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", fipsTests)
			cmd.Env = append(os.Environ(), "GODEBUG=fips140="+mode, "HSMTLS_TEST_FIPS=1")
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, "%s", out)
		})
	}
}

// TestFIPSMode fails if the mode that TestFIPS asked for is not on.
func TestFIPSMode(t *testing.T) {
	t.Parallel()
	if os.Getenv("HSMTLS_TEST_FIPS") != "" {
		require.True(t, fips140.Enabled())
	}
}
