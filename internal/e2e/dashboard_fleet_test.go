// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build unix && cgo

package e2e

import (
	"crypto/x509"
	"io"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
	"github.com/hsmtls/hsmtls-go/internal/hsmtest/faultp11"
	"github.com/hsmtls/hsmtls-go/internal/testpki"
	"github.com/hsmtls/hsmtls-go/keystore"
	"github.com/hsmtls/hsmtls-go/truststore"
)

const (
	hostName   = "acquirer.example" // of the tunnel's server
	tillName   = "till-1.example"   // of its client
	wasThere   = "till-3.example"   // whose certificate is revoked
	beforeLong = 45 * time.Second   // when the first CRL is out of date
)

// A fleet is what the dashboard is about: three commands, each with a token of its own.
type fleet struct {
	command, dir         string // hsmtls, and where the files of all are
	root, devices, hosts *testpki.CA
	stranger             *testpki.CA
	lost                 *x509.Certificate
	target               *target

	acquirer, till, terminal *member
}

// A member is a command that runs, and its token.
type member struct {
	*faultp11.Module
	name          string // in Prometheus
	cfg           hsm.Config
	trust         *truststore.Store
	listen, admin string
	out           *output
	in            io.Writer
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	f := &fleet{dir: t.TempDir(), root: testpki.NewRoot("Acquirer Root"), stranger: testpki.NewRoot("Stranger Root"), target: startTarget(t)}
	f.devices, f.hosts = f.root.NewIntermediate("Devices"), f.root.NewIntermediate("Hosts")
	f.write(t, "root.pem", testpki.PEM(f.root.Certificate))
	f.write(t, "pin", []byte(hsmtest.PIN+"\n"))
	f.command = filepath.Join(f.dir, "hsmtls")
	said, err := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", f.command, "../../cmd/hsmtls").CombinedOutput()
	require.NoError(t, err, "%s", said)
	f.startAcquirer(t)
	f.startTill(t)
	f.startTerminal(t)
	return f
}

func (f *fleet) write(t *testing.T, name string, text []byte) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(f.dir, name), text, 0o600))
}

func (f *fleet) members() []*member { return []*member{f.acquirer, f.till, f.terminal} }

// startAcquirer starts the tunnel before the target. It has CRLs, of which one is out of
// date before long, and a trusted entry that is revoked later.
func (f *fleet) startAcquirer(t *testing.T) {
	t.Helper()
	f.acquirer = f.member(t, "acquirer", "acquirer_pub", f.hosts, testpki.ServerTemplate(hostName), 400)
	f.trusts(t, f.acquirer, "devices", f.devices.Certificate)
	f.lost = f.root.Client(wasThere).Leaf
	f.trusts(t, f.acquirer, "till-3", f.lost)
	f.revokes(t, f.root, 10*beforeLong)
	f.revokes(t, f.devices, beforeLong)
	f.start(t, f.acquirer, "tunnel", "server", "--listen", loopback+":0", "--target", f.target.Addr().String(),
		"--alias", "acquirer_pub", "--allow-cn", tillName, "--drain-timeout", "1s")
}

// startTill starts the tunnel of a program that has no TLS. Its certificate ends soon.
func (f *fleet) startTill(t *testing.T) {
	t.Helper()
	f.till = f.member(t, "till-1", "till_pub", f.devices, testpki.ClientTemplate(tillName), 20)
	f.trusts(t, f.till, "hosts", f.hosts.Certificate)
	f.start(t, f.till, "tunnel", "client", "--listen", loopback+":0", "--target", f.acquirer.listen,
		"--name", hostName, "--alias", "till_pub", "--drain-timeout", "1s")
}

// startTerminal starts a terminal that POS can pair with.
func (f *fleet) startTerminal(t *testing.T) {
	t.Helper()
	f.terminal = f.member(t, "terminal", "terminal_pub", f.hosts, testpki.ServerTemplate(deviceName), 90)
	said, err := f.hsmtls(t, f.terminal, "pairing", "init", "pairing_ca", "--key", "pairing", "--self").CombinedOutput()
	require.NoError(t, err, "%s", said)
	f.start(t, f.terminal, "terminal", "--listen", loopback+":0", "--alias", "terminal_pub", "--pairing-ca", "pairing_ca",
		"--screen", "none", "--journal", "none")
}

// member makes a token with an identity that is valid for some days.
func (f *fleet) member(t *testing.T, name, alias string, ca *testpki.CA, template *x509.Certificate, days int) *member {
	t.Helper()
	m := &member{Module: faultp11.Over(t, hsmtest.Module(t)), name: name, cfg: hsmtest.Config(t), out: new(output)}
	token := hsmtest.Open(t, m.cfg)
	keys := keystore.New(token)
	key, err := keys.Generate(t.Context(), alias+" key", keystore.P256)
	require.NoError(t, err)
	template.NotAfter = time.Now().AddDate(0, 0, days).Add(time.Hour)
	chain := append([]*x509.Certificate{ca.Issue(template, key.Public())}, ca.Chain()...)
	require.NoError(t, keys.Inject(t.Context(), alias, alias+" key", chain))
	m.trust, err = truststore.Open(t.Context(), token, truststore.Config{
		Anchors: truststore.Anchors{Acquirer: []*x509.Certificate{f.root.Certificate}},
	})
	require.NoError(t, err)
	return m
}

func (f *fleet) trusts(t *testing.T, m *member, name string, cert *x509.Certificate) {
	t.Helper()
	_, err := m.trust.Inject(t.Context(), name, cert)
	require.NoError(t, err)
}

// revokes gives the acquirer the CRL of a CA, with nothing in it.
func (f *fleet) revokes(t *testing.T, ca *testpki.CA, valid time.Duration) {
	t.Helper()
	now := time.Now()
	list := ca.CRL(&x509.RevocationList{Number: big.NewInt(1), ThisUpdate: now.Add(-time.Hour), NextUpdate: now.Add(valid)})
	_, err := f.acquirer.trust.InjectCRL(t.Context(), list)
	require.NoError(t, err)
}

// hsmtls is the command with a member's token.
func (f *fleet) hsmtls(t *testing.T, m *member, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(f.command, args...)
	cmd.Dir = f.dir
	cmd.Env = append(os.Environ(), "HSMTLS_MODULE="+m.Path, "HSMTLS_TOKEN="+m.cfg.Token, "HSMTLS_PIN_FILE=pin", "HSMTLS_ACQUIRER_ROOT=root.pem")
	return cmd
}

// start starts a member with an admin listener.
func (f *fleet) start(t *testing.T, m *member, args ...string) {
	t.Helper()
	cmd := f.hsmtls(t, m, append(args, "--admin", loopback+":0", "--refresh", "3s")...)
	var err error
	m.in, err = cmd.StdinPipe()
	require.NoError(t, err)
	launch(t, cmd, m.out)
	m.admin = m.out.awaits(t, `admin on http://(\S+)`)
	m.listen = m.out.awaits(t, `listening on (\S+)`)
}

// launch starts a program that ends well with SIGTERM, which the test's end sends.
func launch(t *testing.T, cmd *exec.Cmd, out *output) {
	t.Helper()
	cmd.Stdout, cmd.Stderr = out, out
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		stuck := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
		defer stuck.Stop()
		if err := cmd.Wait(); err != nil {
			said := out.String()
			t.Errorf("%v: %v\n%s", cmd.Args, err, said[max(0, len(said)-4000):])
		}
	})
}

// awaits returns what a program writes for the pattern's group, once it does.
func (o *output) awaits(t *testing.T, pattern string) string {
	t.Helper()
	var found []string
	find := regexp.MustCompile(pattern)
	require.Eventually(t, func() bool { found = find.FindStringSubmatch(o.String()); return found != nil },
		time.Minute, 10*time.Millisecond, "no %s", pattern)
	return found[1]
}
