// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo

package p11_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
	"github.com/hsmtls/hsmtls-go/internal/hsmtest/faultp11"
	"github.com/hsmtls/hsmtls-go/internal/p11"
)

// parentOf is set in the process that TestHostEndsWithItsParent kills: its token.
const parentOf = "P11_TEST_PARENT_OF"

// TestHostEndsWithItsParent kills a process that has a host, also one whose host is
// stopped and cannot see that.
func TestHostEndsWithItsParent(t *testing.T) {
	if label := os.Getenv(parentOf); label != "" {
		cfg := p11.Config{Module: hsmtest.Module(t), Select: p11.Selector{Label: label}, PIN: pin(hsmtest.PIN)}
		hosted(&cfg)
		fmt.Println("host", open(t, cfg).Status().HostPID)
		select {}
	}
	t.Parallel()
	for _, signal := range []syscall.Signal{syscall.SIGCONT, syscall.SIGTERM, syscall.SIGSTOP} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			cfg := config(t)
			parent := exec.Command(os.Args[0], "-test.run=^TestHostEndsWithItsParent$")
			parent.Env = append(os.Environ(), parentOf+"="+cfg.Select.Label)
			out, err := parent.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, parent.Start())
			line, err := bufio.NewReader(out).ReadString('\n')
			require.NoError(t, err)
			var host int
			_, err = fmt.Sscanf(line, "host %d", &host)
			require.NoError(t, err)
			require.NoError(t, syscall.Kill(host, signal))
			require.False(t, hasEnded(host))
			require.NoError(t, parent.Process.Kill())
			require.Error(t, parent.Wait())
			require.Eventually(t, func() bool { return hasEnded(host) }, 30*time.Second, time.Millisecond)
		})
	}
}

// hasEnded reports whether a process is gone, or waits for its new parent, which may
// be nobody who cares, to notice.
func hasEnded(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, state, _ := strings.Cut(string(stat), ") ")
	return err != nil || strings.HasPrefix(state, "Z") || strings.HasPrefix(state, "X")
}

// TestHostInheritsNothing opens a pipe that every process started from here gets, and
// finds that the host has closed it.
func TestHostInheritsNothing(t *testing.T) {
	if !hsmtest.Child(t) {
		return
	}
	var ends [2]int
	require.NoError(t, syscall.Pipe(ends[:]))
	cfg := config(t)
	hosted(&cfg)
	token := open(t, cfg)
	require.NoError(t, syscall.Close(ends[1]))
	require.NoError(t, syscall.SetNonblock(ends[0], true))
	r := os.NewFile(uintptr(ends[0]), "pipe")
	defer r.Close()
	require.NoError(t, r.SetReadDeadline(time.Now().Add(30*time.Second)))
	_, err := r.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
	require.NotZero(t, token.Status().HostPID)
}

// TestHostShowsNoPIN looks at what everybody can see of a process.
func TestHostShowsNoPIN(t *testing.T) {
	t.Parallel()
	cfg := faultConfig(t, faultp11.New(t))
	hosted(&cfg)
	token := open(t, cfg)
	args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", token.Status().HostPID))
	require.NoError(t, err)
	require.Equal(t, os.Args[0]+"\x00"+p11.HostArgument+"\x00", string(args))
	require.NotContains(t, strings.Join(os.Environ(), "\n"), "="+hsmtest.PIN)
}
