// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/est"
	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/hsmtls"
	"github.com/hsmtls/hsmtls-go/keystore"
	"github.com/hsmtls/hsmtls-go/pairing"
	"github.com/hsmtls/hsmtls-go/truststore"
)

// commands returns all commands of the tree.
func commands(c *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{c}
	for _, sub := range c.Commands() {
		all = append(all, commands(sub)...)
	}
	return all
}

// TestCommandsExplainThemselves holds each command to a description, and to one
// of what it prints as JSON.
func TestCommandsExplainThemselves(t *testing.T) {
	t.Parallel()
	for _, c := range commands(new(app).root()) {
		require.NotEmpty(t, c.Short, c.CommandPath())
		require.False(t, strings.HasSuffix(c.Short, "."), c.CommandPath())
		require.NotNil(t, c.Args, c.CommandPath())
		if !c.HasSubCommands() && c.Name() != "help" { // which is cobra's
			require.Contains(t, c.Long, "JSON", c.CommandPath())
			require.NotNil(t, c.ValidArgsFunction, c.CommandPath())
		}
		c.LocalFlags()
		for _, line := range strings.Split(c.Long, "\n") {
			require.LessOrEqual(t, len(line), 90, "%s: %s", c.CommandPath(), line)
		}
	}
}

// TestFlagsExplainThemselves has each flag call its value by a word of its own, and
// not by the type it has in Go.
func TestFlagsExplainThemselves(t *testing.T) {
	t.Parallel()
	for _, c := range commands(new(app).root()) {
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			value, usage := pflag.UnquoteUsage(f)
			require.NotEmpty(t, usage, "%s --%s", c.CommandPath(), f.Name)
			require.Equal(t, strings.ToUpper(value), value, "%s --%s", c.CommandPath(), f.Name)
		})
		require.NotContains(t, c.LocalFlags().FlagUsages(), "[])", c.CommandPath())
	}
}

// TestGlobalFlagsHaveVariables holds that every global flag can be set in the
// environment, and says so.
func TestGlobalFlagsHaveVariables(t *testing.T) {
	t.Parallel()
	flags := new(app).root().PersistentFlags()
	for name, variable := range globalEnv {
		flag := flags.Lookup(name)
		require.NotNil(t, flag, name)
		require.Contains(t, flag.Usage, "$"+variable)
	}
	require.Equal(t, len(globalEnv), strings.Count(flags.FlagUsages(), "--"))
}

func TestRunCountsUsage(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{nil, {"key"}, {"frobnicate"}, {"key", "generate"}, {"version", "--x"}} {
		var out, errs bytes.Buffer
		require.Equal(t, exitUsage, run(t.Context(), args, nil, &out, &errs), "%q", args)
		require.Empty(t, out.String())
		require.NotEmpty(t, errs.String())
	}
	var out, errs bytes.Buffer
	require.Equal(t, exitOK, run(t.Context(), []string{"version"}, nil, &out, &errs))
	require.Empty(t, errs.String())
}

func TestHints(t *testing.T) {
	t.Parallel()
	for _, err := range []error{
		hsm.ErrPIN, hsm.ErrNoPIN, hsm.ErrPINFile, hsm.ErrPINLocked, hsm.ErrPINFinalTry, hsm.ErrNotFound, hsm.ErrAmbiguous,
		hsm.ErrNotInitialized, hsm.ErrInitialized, hsm.ErrBusy, hsm.ErrNoCgo,
		keystore.ErrNotFound, keystore.ErrExists, keystore.ErrAmbiguous, keystore.ErrMismatch, keystore.ErrExtractable, keystore.ErrInUse, keystore.ErrChain, keystore.ErrWeak,
		truststore.ErrNotFound, truststore.ErrExists, truststore.ErrNoAnchors, truststore.ErrEmpty, truststore.ErrUntrusted, truststore.ErrUnrelated,
		keystore.ErrIssuer, keystore.ErrNotLater, keystore.ErrWider, est.ErrIncomplete, errPasswordFile,
		&est.PendingError{}, &est.StatusError{Code: 401}, &est.StatusError{Code: 500},
		&truststore.RuleError{}, x509.UnknownAuthorityError{}, x509.HostnameError{Certificate: new(x509.Certificate)}, x509.CertificateInvalidError{},
		hsmtls.ErrNotMutual, hsmtls.ErrNoServerName, hsmtls.ErrHandshakeTimeout,
		pairing.ErrCode, pairing.ErrBusy, pairing.ErrNotPaired, pairing.ErrRoot, pairing.ErrUnknown, pairing.ErrIssuer, errNoAuthority, errMissingCA, errRootless, errNoCRL, errNotLetIn,
		&net.OpError{Op: "remote error", Err: errors.New("alert")},
	} {
		hint := hintFor(fmt.Errorf("about: %w", err))
		require.NotEmpty(t, hint, "%v", err)
		require.False(t, strings.HasSuffix(hint, "."), hint)
		require.NotContains(t, hint, "\n")
	}
	require.Empty(t, hintFor(errors.New("something else")))
	require.Contains(t, hintFor(&truststore.RuleError{Rule: "crl-authority-key-id"}), "the CRL has to be issued anew")
	require.Contains(t, hintFor(&truststore.RuleError{Rule: "ca"}), "the certificate has to be issued anew")
	require.Contains(t, hintFor(hsm.ErrNoPIN), "--so-pin-file") // or the SO PIN is tried as the user's
	require.Contains(t, hintFor(truststore.ErrNotFound), "hsmtls crl list")
}

func TestURIAttribute(t *testing.T) {
	t.Parallel()
	const uri = "pkcs11:token=a?module-path=/lib/a%20b.so&pin-source=file:/run/pin"
	require.Equal(t, "/lib/a b.so", uriAttribute(uri, "module-path"))
	require.Equal(t, "file:/run/pin", uriAttribute(uri, "pin-source"))
	require.Empty(t, uriAttribute(uri, "pin-value"))
	require.Empty(t, uriAttribute("pkcs11:module-path=x", "module-path"))
}
