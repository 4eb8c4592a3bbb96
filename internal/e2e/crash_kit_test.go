// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build unix && cgo

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
	"github.com/hsmtls/hsmtls-go/internal/hsmtest/faultp11"
	"github.com/hsmtls/hsmtls-go/internal/p11"
	"github.com/hsmtls/hsmtls-go/internal/testpki"
	"github.com/hsmtls/hsmtls-go/keystore"
	"github.com/hsmtls/hsmtls-go/truststore"
)

// crashJob, in the environment, is the file with the job of a process that the
// crash tests start: this test binary, running TestCrashProcess alone.
const crashJob = "HSMTLS_CRASH_JOB"

// A job is what such a process is to do, and all it has to know.
type job struct {
	Module, Token string
	Op            string              // one of crashOps, "look" or "contend"
	Rounds        int                 // of contend
	Certs         map[string][][]byte // chains by name, DER
}

func (j job) chain(name string) (chain []*x509.Certificate) {
	for _, der := range j.Certs[name] {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			panic(err)
		}
		chain = append(chain, c)
	}
	if len(chain) == 0 {
		panic("no chain " + name)
	}
	return chain
}

// crashed is a token with everything open, as every process here has it.
type crashed struct {
	job
	token *hsm.Token
	keys  *keystore.Store
	trust *truststore.Store
	pos   *truststore.Clients
}

func (j job) open() (*crashed, error) {
	ctx := context.Background()
	token, err := hsm.Open(ctx, hsm.Config{Module: j.Module, Token: j.Token, PIN: hsmtest.Secret(hsmtest.PIN)})
	if err != nil {
		return nil, err
	}
	trust, err := truststore.Open(ctx, token, truststore.Config{Anchors: truststore.Anchors{
		Acquirer: j.chain("acquirer root"), Pairing: j.chain("pairing root"),
	}})
	if err != nil {
		return nil, err
	}
	return &crashed{job: j, token: token, keys: keystore.New(token), trust: trust, pos: &truststore.Clients{Store: trust}}, nil
}

// A view is what the stores make of a token. Two views are equal if nobody who
// uses the stores could tell the tokens apart.
type view struct {
	Keys       []string            // aliases; each one opens and signs
	Identities map[string][]string // alias to chain; each one resolves
	Entries    map[string]string
	Clients    []string
	Rejected   []string
}

// An account is what a process says of a token.
type account struct {
	View      view
	Leftovers []string
	Objects   []string // everything on the token
}

func short(c *x509.Certificate) string {
	return fmt.Sprintf("%s %x", c.Subject.CommonName, sha256.Sum256(c.Raw))[:len(c.Subject.CommonName)+13]
}

// account looks at a token. What does not resolve is an error.
func (c *crashed) account(ctx context.Context) (a account, err error) {
	a.View.Identities, a.View.Entries = map[string][]string{}, map[string]string{}
	infos, err := c.keys.Keys(ctx)
	if err != nil {
		return a, err
	}
	for _, k := range infos {
		if _, err := c.keys.Key(ctx, k.Alias); err != nil {
			return a, err
		}
		a.View.Keys = append(a.View.Keys, k.Alias)
	}
	slices.Sort(a.View.Keys)
	identities, err := c.keys.Identities(ctx)
	if err != nil {
		return a, err
	}
	for _, i := range identities {
		id, err := c.keys.Identity(ctx, i.Alias)
		if err != nil || i.Problem != nil || a.View.Identities[i.Alias] != nil {
			return a, fmt.Errorf("identity %q: %v, %v", i.Alias, err, i.Problem)
		}
		for _, cert := range id.Chain {
			a.View.Identities[i.Alias] = append(a.View.Identities[i.Alias], short(cert))
		}
	}
	if err := c.trust.Refresh(ctx); err != nil {
		return a, err
	}
	for _, e := range c.trust.Entries() {
		a.View.Entries[e.Alias] = short(e.Certificate)
	}
	for _, cert := range c.pos.Clients() {
		a.View.Clients = append(a.View.Clients, short(cert))
	}
	for _, r := range c.trust.Rejected() {
		a.View.Rejected = append(a.View.Rejected, fmt.Sprint(r.Label, ": ", r.Err))
	}
	if a.Leftovers, err = c.leftovers(ctx); err != nil {
		return a, err
	}
	a.Objects, err = c.objects(ctx)
	return a, err
}

func (c *crashed) leftovers(ctx context.Context) (all []string, err error) {
	mine, err := c.keys.Leftovers(ctx)
	if err != nil {
		return nil, err
	}
	for _, l := range mine {
		all = append(all, fmt.Sprintf("%v %q", l.Kind, l.Label))
	}
	trust, err := c.trust.Leftovers(ctx)
	for _, l := range trust {
		all = append(all, fmt.Sprintf("trust %q", l.Label))
	}
	slices.Sort(all)
	return all, err
}

func (c *crashed) objects(ctx context.Context) (all []string, err error) {
	device := c.token.Device()
	certs, err := device.Certificates(ctx, p11.Filter{})
	if err != nil {
		return nil, err
	}
	for _, o := range certs {
		all = append(all, fmt.Sprintf("certificate %q %x", o.Label, sha256.Sum256(append(slices.Clone(o.Value), o.ID...))))
	}
	public, err := device.PublicKeys(ctx, p11.Filter{})
	if err != nil {
		return nil, err
	}
	for _, o := range public {
		all = append(all, fmt.Sprintf("public key %q", o.Label))
	}
	private, err := device.Keys(ctx, p11.Filter{})
	for _, o := range private {
		all = append(all, fmt.Sprintf("private key %q", o.Label))
	}
	slices.Sort(all)
	return all, err
}

// clean removes what is left over, in both stores.
func (c *crashed) clean(ctx context.Context) error {
	if _, err := c.keys.Clean(ctx); err != nil {
		return err
	}
	_, err := c.trust.Clean(ctx)
	return err
}

// look is what a process finds and does that comes after a crash.
func (c *crashed) look(ctx context.Context) (found [2]account, err error) {
	if found[0], err = c.account(ctx); err != nil {
		return found, err
	}
	if err := c.clean(ctx); err != nil {
		return found, err
	}
	found[1], err = c.account(ctx)
	return found, err
}

// TestCrashProcess is the other process. Run as part of the suite, it proves
// that a process without a job does nothing.
func TestCrashProcess(t *testing.T) {
	path := os.Getenv(crashJob)
	if path == "" {
		require.Empty(t, os.Getenv(crashJob))
		return
	}
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	var j job
	require.NoError(t, json.Unmarshal(text, &j))
	c, err := j.open()
	require.NoError(t, err)
	defer c.token.Close()
	if j.Op == "look" {
		found, err := c.look(t.Context())
		require.NoError(t, err)
		require.NoError(t, json.NewEncoder(os.Stdout).Encode(found))
		return
	}
	fmt.Println("ready")
	_, _ = os.Stdin.Read(make([]byte, 1))
	op, ok := crashOps[j.Op]
	if !ok {
		op = contend
	}
	require.NoError(t, op(t.Context(), c))
}

// process starts the other process on a job.
func process(t *testing.T, j job) (*exec.Cmd, io.WriteCloser, *bufio.Reader) {
	t.Helper()
	text, err := json.Marshal(j)
	require.NoError(t, err)
	f, err := os.CreateTemp(t.TempDir(), "job")
	require.NoError(t, err)
	_, err = f.Write(text)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	cmd := exec.Command(os.Args[0], "-test.run=^TestCrashProcess$", "-test.count=1", "-test.timeout=2m")
	cmd.Env = append(os.Environ(), crashJob+"="+f.Name(), "GORACE=atexit_sleep_ms=0")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	return cmd, in, bufio.NewReader(out)
}

// crash runs an operation in a process of its own and reports whether it was
// killed. arm is called when everything is open and nothing has begun.
func crash(t *testing.T, j job, arm func()) (killed bool) {
	t.Helper()
	cmd, in, out := process(t, j)
	line, err := out.ReadString('\n')
	require.NoError(t, err, line)
	arm()
	_, err = in.Write([]byte("\n"))
	require.NoError(t, err)
	said, _ := io.ReadAll(out)
	err = cmd.Wait()
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		require.Equal(t, syscall.SIGKILL, status.Signal(), "%s", said)
		return true
	}
	require.NoError(t, err, "%s", said)
	return false
}

// look has a fresh process look at the token, clean it, and look again.
func look(t *testing.T, j job) (found [2]account) {
	t.Helper()
	j.Op = "look"
	cmd, in, out := process(t, j)
	require.NoError(t, in.Close())
	said, err := io.ReadAll(out)
	require.NoError(t, err)
	require.NoError(t, cmd.Wait(), "%s", said)
	require.NoError(t, json.NewDecoder(bytes.NewReader(said)).Decode(&found), "%s", said)
	return found
}

// A scene is a token with something of everything on it, which can be put back
// as it was.
type scene struct {
	*faultp11.Module
	job
	saved string // a copy of the token
}

func (s *scene) tokens() string { return filepath.Join(filepath.Dir(s.Path), "tokens") }

// newScene makes the token: identities, entries, paired systems, and chains to
// add to them.
func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{Module: faultp11.New(t), saved: filepath.Join(t.TempDir(), "saved")}
	cfg := s.Config(t)
	s.job = job{Module: s.Path, Token: cfg.Token, Certs: map[string][][]byte{}}
	root, pairing := testpki.NewRoot("acquirer root"), testpki.NewRoot("pairing root")
	s.keep("acquirer root", root.Certificate)
	s.keep("pairing root", pairing.Certificate)
	token, err := hsm.Open(t.Context(), cfg)
	require.NoError(t, err)
	keys := keystore.New(token)
	public := map[string]*keystore.Key{}
	for _, alias := range []string{"terminal", "ca", "spare"} {
		public[alias], err = keys.Generate(t.Context(), alias, keystore.P256)
		require.NoError(t, err)
	}
	issue := func(name, key string, ca *testpki.CA) {
		s.keep(name, append([]*x509.Certificate{ca.Issue(testpki.ClientTemplate(name), public[key].Public())}, ca.Chain()...)...)
	}
	issue("present", "terminal", root.NewIntermediate("present issuer"))
	issue("renewed", "terminal", root.NewIntermediate("renewed issuer"))
	issue("second", "terminal", root.NewIntermediate("second issuer"))
	above := root.NewIntermediate("above the terminal's CA")
	authority := testpki.NewRoot("x").NewIntermediate("terminal's CA").Certificate
	template := *authority
	template.NotAfter = time.Now().Add(time.Hour)
	s.keep("authority", append([]*x509.Certificate{above.Issue(&template, public["ca"].Public())}, above.Chain()...)...)
	for _, name := range []string{"host", "new host"} {
		ca := root.NewIntermediate(name + " upper").NewIntermediate(name + " issuer")
		s.keep(name, append([]*x509.Certificate{ca.Server(strings.ReplaceAll(name, " ", "-") + ".example").Leaf}, ca.Chain()...)...)
	}
	batch := root.NewIntermediate("batch issuer")
	for _, candidate := range []struct {
		name  string
		names int
	}{{"batch 1", 1}, {"batch 2", 1}, {"batch long", 60}} {
		names := []string{strings.ReplaceAll(candidate.name, " ", "-") + ".example"}
		for i := range candidate.names - 1 {
			names = append(names, fmt.Sprintf("%s-%d.example", strings.Repeat("n", 50), i))
		}
		s.keep(candidate.name, append([]*x509.Certificate{batch.Server(names...).Leaf}, batch.Chain()...)...)
	}
	for _, name := range []string{"till", "new till"} {
		ca := pairing.NewIntermediate(name + " issuer")
		s.keep(name, append([]*x509.Certificate{ca.Client(name).Leaf}, ca.Chain()...)...)
	}
	require.NoError(t, keys.Inject(t.Context(), "terminal_pub", "terminal", s.chain("present")))
	require.NoError(t, token.Close())
	c, err := s.open()
	require.NoError(t, err)
	_, err = c.trust.Inject(t.Context(), "host", s.chain("host")...)
	require.NoError(t, err)
	require.NoError(t, c.pos.Add(t.Context(), "1", s.chain("till")))
	require.NoError(t, c.token.Close())
	require.NoError(t, os.CopyFS(s.saved, os.DirFS(s.tokens())))
	return s
}

func (s *scene) keep(name string, chain ...*x509.Certificate) {
	for _, c := range chain {
		s.Certs[name] = append(s.Certs[name], c.Raw)
	}
}

// reset puts the token back. No process may have it open.
func (s *scene) reset(t *testing.T) {
	t.Helper()
	require.NoError(t, os.RemoveAll(s.tokens()))
	require.NoError(t, os.CopyFS(s.tokens(), os.DirFS(s.saved)))
}

// untouched reports whether the token is byte for byte as it was saved.
func (s *scene) untouched(t *testing.T) bool {
	t.Helper()
	return fingerprint(t, s.tokens()) == fingerprint(t, s.saved)
}

func fingerprint(t *testing.T, dir string) (sum string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) == ".lock" {
			return err
		}
		text, err := os.ReadFile(path)
		sum += fmt.Sprintf("%s %x\n", path[len(dir):], sha256.Sum256(text))
		return err
	}))
	return sum
}

func viewString(v view) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(text)
}
