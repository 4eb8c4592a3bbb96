// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

// Hsmtls manages the keys, certificates and trusted servers on a PKCS#11 token,
// and dials and serves mutual TLS with them.
//
//	hsmtls token init --label terminal --so-pin-file so-pin --pin-file pin
//	hsmtls key generate terminal
//	hsmtls csr terminal --subject CN=t-0042,O=Acquirer --out terminal.csr
//	hsmtls cert inject terminal_pub terminal.pem --key terminal
//	hsmtls trust inject host host.pem --acquirer-root acquirer-root.pem
//	hsmtls dial host.acquirer.example:8443 --alias terminal_pub
//
// Every command explains itself: hsmtls help. The exit status is 0 if all went
// well, 1 if something was refused or failed, 2 if the command line or its
// environment could not be understood, and 3 if the token does not accept the PIN of
// a command that is a service. Errors are on standard error, one line
// each, followed by a hint where one helps.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal ends the work in hand, the second ends the process.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
