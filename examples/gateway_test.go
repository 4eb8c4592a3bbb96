// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package examples_test

import (
	"bufio"
	"crypto/x509"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/bench/simterminals"
	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

// TestGateway runs the gateway against an estate in which not all is well, and
// cuts the power of one terminal.
func TestGateway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	clients := x509.NewCertPool()
	clients.AddCert(w.root.Certificate)
	estate := simterminals.New(0, 5, w.root, clients)
	for i, fault := range []simterminals.Fault{simterminals.Healthy, simterminals.Healthy, simterminals.Slow, simterminals.WrongName, simterminals.Expired} {
		estate.Terminals[i].Fail(fault)
	}
	require.NoError(t, estate.PowerOn())
	defer estate.PowerOff()
	var list strings.Builder
	for _, terminal := range estate.Terminals {
		fmt.Fprintln(&list, terminal.Serial, terminal.Addr)
	}
	dir := t.TempDir()
	w.env = append(w.env, "HSMTLS_VENDOR_ROOT="+write(t, dir, "root.pem", testpki.PEM(w.root.Certificate)))
	cmd := w.command(t, "gateway", write(t, dir, "terminals.txt", []byte(list.String())), simterminals.Suffix)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	said := bufio.NewScanner(stdout)
	wait := func(want ...string) {
		t.Helper()
		for len(want) > 0 {
			require.True(t, said.Scan(), "missing: %v", want)
			for i, w := range want {
				if strings.HasPrefix(said.Text(), w) {
					want = append(want[:i], want[i+1:]...)
					break
				}
			}
		}
	}
	wait("000000 connected", "000001 connected", "000002 connected", "000003 left alone", "000004 left alone")
	estate.Terminals[1].PowerOff()
	wait("000001 disconnected")
	require.NoError(t, estate.Terminals[1].PowerOn())
	wait("000001 connected")
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	// One to prove the key, one for each terminal that is well, none to come back.
	wait("4 signatures")
	require.NoError(t, cmd.Wait())
}
