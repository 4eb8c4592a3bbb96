// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hsmtls/hsmtls-go/hsm"
)

// The exit statuses.
const (
	exitOK     = 0
	exitFailed = 1 // refused or failed
	exitUsage  = 2 // not understood
	exitPIN    = 3 // of a service: the token does not accept the PIN
)

// An app is one run of the command.
type app struct {
	stdin   io.Reader
	stdout  io.Writer
	stderr  io.Writer
	globals globals
	running bool // the command line has been understood
	service bool // and somebody may start it again when it ends
}

// run is main without the process: it returns the exit status.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr}
	root := a.root()
	root.SetArgs(append([]string{}, args...)) // nil would mean those of the process
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.InitDefaultCompletionCmd() // which writes to what is set by now
	if completion, _, err := root.Find([]string{"completion"}); err == nil {
		leads(completion)
	}
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	var usage *usageError
	if a.running && !errors.As(err, &usage) {
		a.complain(err, hintFor(err))
		return a.failure(err)
	}
	if !errors.Is(err, errHelpShown) {
		a.complain(err, usageHint(cmd, err))
	}
	return exitUsage
}

// failure is the exit status for an error. That of a PIN keeps a service manager from
// starting a service again and again until the token is locked.
func (a *app) failure(err error) int {
	if a.service && (errors.Is(err, hsm.ErrPIN) || errors.Is(err, hsm.ErrPINLocked) || errors.Is(err, hsm.ErrPINFinalTry)) {
		return exitPIN
	}
	return exitFailed
}

func (a *app) root() *cobra.Command {
	root := group("hsmtls", "mutual TLS with keys that never leave a PKCS#11 token",
		a.tokenCommand(), a.keyCommand(), a.csrCommand(), a.certCommand(), a.estCommand(), a.trustCommand(), a.anchorCommand(), a.crlCommand(),
		a.dialCommand(), a.serveCommand(), a.tunnelCommand(), a.auditCommand(), a.doctorCommand(), a.cleanCommand(),
		a.terminalCommand(), a.pairCommand(), a.pairingCommand(), a.rootCommand(), a.moduleHostCommand(), a.versionCommand(), a.manCommand())
	root.Long = rootHelp
	root.SilenceErrors = true
	root.SilenceUsage = true
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error { return a.globals.fromEnv(cmd) }
	root.SetUsageTemplate(strings.Replace(root.UsageTemplate(),
		"{{if .Runnable}}", "{{if and .Runnable (not .HasAvailableSubCommands)}}", 1))
	a.globals.register(root)
	root.InitDefaultHelpCmd()
	if help, _, err := root.Find([]string{"help"}); err == nil {
		help.Args = helpTopic
	}
	return root
}

// helpTopic refuses what is no command: help of another one would not say so.
func helpTopic(help *cobra.Command, args []string) error {
	found, rest, err := help.Root().Find(args)
	if err == nil && len(rest) > 0 {
		return fmt.Errorf("unknown command %q", found.CommandPath()+" "+rest[0])
	}
	return err
}

const rootHelp = `hsmtls manages the keys, certificates and trusted servers on a PKCS#11 token,
and dials and serves mutual TLS with them.

Provisioning a terminal, from a blank token to the first connection:

  export HSMTLS_MODULE=/usr/lib/softhsm/libsofthsm2.so HSMTLS_TOKEN=terminal
  export HSMTLS_PIN_FILE=pin HSMTLS_ACQUIRER_ROOT=acquirer-root.pem
  hsmtls token init --label terminal --so-pin-file so-pin
  hsmtls key generate terminal
  hsmtls csr terminal --subject CN=t-0042,O=Acquirer --out terminal.csr
  hsmtls cert inject terminal_pub terminal.pem --key terminal
  hsmtls trust inject host host.pem
  hsmtls dial host.acquirer.example:8443 --alias terminal_pub

A PIN is never an argument. It comes from a file that only its owner can read, or is
asked for on the terminal. Those of a new token are what you write to pin and so-pin.

If something does not work, hsmtls doctor says what is missing and what mends it.

Exit status: 0 done, 1 refused or failed, 2 not understood, 3 the token does not accept
the PIN of a service (serve, terminal, tunnel), which must not be started again by itself.`

// group is a command that only leads to others.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short}
	leads(c)
	c.AddCommand(commands...)
	return c
}

// leads makes a command show its help, and refuse what is no command.
func leads(c *cobra.Command) {
	c.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return fmt.Errorf("unknown command %q", cmd.CommandPath()+" "+args[0])
		}
		return nil
	}
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		cmd.SetOut(cmd.ErrOrStderr())
		_ = cmd.Help()
		return &usageError{errHelpShown}
	}
}

// does is the RunE of a command.
func (a *app) does(f func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		a.running = true
		return f(cmd.Context(), args)
	}
}

// takes says what arguments a command wants, by name.
func takes(names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) < len(names) {
			return fmt.Errorf("%s is missing", names[len(args)])
		}
		if len(args) > len(names) {
			return fmt.Errorf("unexpected argument %q", args[len(names)])
		}
		if i := slices.Index(args, ""); i >= 0 {
			return fmt.Errorf("%s is empty", names[i])
		}
		return nil
	}
}

// completes says how a shell completes the arguments of a command: a nil list
// means not at all, others are the extensions of files.
func completes(extensions ...[]string) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) < len(extensions) && extensions[len(args)] != nil {
			return extensions[len(args)], cobra.ShellCompDirectiveFilterFileExt
		}
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
}

// certificateFiles are the extensions of files with certificates.
var certificateFiles = []string{"pem", "crt", "cer", "der"}

// A usageError is a command line that was not understood.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// errHelpShown is for a command line that was answered with help.
var errHelpShown = errors.New("help was shown")
