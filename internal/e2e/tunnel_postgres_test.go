// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build unix && cgo

package e2e

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A postgres is a PostgreSQL server in a folder of its own, on a Unix socket.
type postgres struct {
	programs string // where they are
	dir      string
	as       *syscall.SysProcAttr // it refuses to run as root
	socket   string
}

// postgresPrograms returns the folder of PostgreSQL's programs:
// $HSMTLS_TEST_POSTGRES, that of initdb, or where Debian has the newest.
func postgresPrograms(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv("HSMTLS_TEST_POSTGRES"); dir != "" {
		return dir
	}
	if found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb"); len(found) > 0 {
		return filepath.Dir(slices.MaxFunc(found, func(a, b string) int { return len(a) - len(b) + strings.Compare(a, b) }))
	}
	return filepath.Dir(program(t, "initdb"))
}

// startPostgres makes a database and serves it until the test ends.
func startPostgres(t *testing.T) *postgres {
	t.Helper()
	p := &postgres{programs: postgresPrograms(t)}
	var err error
	p.dir, err = os.MkdirTemp("", "postgres") // not in a folder that only root may enter
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(p.dir) })
	p.drop(t)
	out, err := p.command("initdb", "-D", "data", "-U", "till", "-A", "trust", "--no-locale", "-E", "UTF8", "--no-sync").CombinedOutput()
	require.NoError(t, err, "%s", out)
	p.socket = filepath.Join(p.dir, ".s.PGSQL.5432")
	server, log := p.command("postgres", "-D", "data", "-k", p.dir, "-c", "listen_addresses=", "-c", "fsync=off"), new(output)
	server.Stdout, server.Stderr = log, log
	require.NoError(t, server.Start())
	t.Cleanup(func() { _ = server.Process.Signal(os.Interrupt); _ = server.Wait() }) // a fast shutdown
	ready := func() bool { return strings.Contains(log.String(), "ready to accept connections") }
	require.Eventually(t, ready, time.Minute, 10*time.Millisecond)
	return p
}

// drop gives up root, who may not run it.
func (p *postgres) drop(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		return
	}
	who, err := user.Lookup("postgres")
	if err != nil {
		who, err = user.Lookup("nobody")
	}
	require.NoError(t, err)
	uid, err := strconv.ParseUint(who.Uid, 10, 32)
	require.NoError(t, err)
	gid, err := strconv.ParseUint(who.Gid, 10, 32)
	require.NoError(t, err)
	require.NoError(t, os.Chown(p.dir, int(uid), int(gid)))
	p.as = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
}

func (p *postgres) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(p.programs, name), args...)
	cmd.Dir, cmd.SysProcAttr = p.dir, p.as
	cmd.Env = append(os.Environ(), "LC_ALL=C", "HOME="+p.dir)
	return cmd
}

// psql runs a command at a server, and returns what it prints.
func (p *postgres) psql(t *testing.T, host, port, command string, stdin []byte) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(p.programs, "psql"), "-X", "-q", "-t", "-A", "-v", "ON_ERROR_STOP=1",
		"-h", host, "-p", port, "-U", "till", "-d", "postgres", "-c", command)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "HOME="+p.dir)
	cmd.Stdin = bytes.NewReader(stdin)
	var problems bytes.Buffer
	cmd.Stderr = &problems
	out, err := cmd.Output()
	require.NoError(t, err, problems.String())
	return out
}

// TestTunnelPostgres has psql ask a PostgreSQL through both halves, from a Unix socket
// and from a port, and copy a table of some MiB there and back.
func TestTunnelPostgres(t *testing.T) {
	t.Parallel()
	p, s := startPostgres(t), newStation(t, setup{})
	dir := t.TempDir()
	s.through(t, "unix:"+filepath.Join(dir, ".s.PGSQL.5432"), "unix:"+p.socket)
	host, port, err := net.SplitHostPort(s.through(t, loopback+":0", "unix:"+p.socket).Addr().String())
	require.NoError(t, err)
	for name, at := range map[string][2]string{"socket": {dir, "5432"}, "port": {host, port}} {
		require.Equal(t, "42\n", string(p.psql(t, at[0], at[1], "select 6 * 7", nil)))
		rows := table(name, 50_000)
		p.psql(t, at[0], at[1], "create table "+name+" (n int primary key, text text)", nil)
		p.psql(t, at[0], at[1], `\copy `+name+` from pstdin`, rows)
		sum := p.psql(t, at[0], at[1], `select md5(string_agg(n || E'\t' || text || E'\n', '' order by n)) from `+name, nil)
		want := md5.Sum(rows)
		require.Equal(t, hex.EncodeToString(want[:])+"\n", string(sum), "what the server has got")
		back := p.psql(t, at[0], at[1], `\copy (select * from `+name+` order by n) to pstdout`, nil)
		require.True(t, bytes.Equal(rows, back), "what came back")
	}
}

// table is n rows in the format of COPY, of 100 bytes and more each.
func table(seed string, n int) []byte {
	var rows bytes.Buffer
	random := bytesOf(seed, 48*n)
	for i := range n {
		fmt.Fprintf(&rows, "%d\t%x\n", i, random[48*i:48*(i+1)])
	}
	return rows.Bytes()
}
