// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsm

import (
	"fmt"

	"github.com/hsmtls/hsmtls-go/internal/p11"
)

// ModuleHostArgument is the one argument that Config.ModuleHost is started with.
const ModuleHostArgument = p11.HostArgument

// ServeModule makes this process a module host. A program that names itself in
// Config.ModuleHost calls it before anything else when its only argument is
// [ModuleHostArgument]:
//
//	if len(os.Args) == 2 && os.Args[1] == hsm.ModuleHostArgument {
//		if err := hsm.ServeModule(); err != nil {
//			log.Fatal(err)
//		}
//		return
//	}
//
// It returns when the process that started this one has closed the token or is
// gone, which is the moment to end: calls may still be inside the module. In a
// process that was started by somebody else it is an error at once.
//
// SIGINT, SIGTERM and SIGHUP are ignored, since the module is needed for as long as
// the other process drains its connections; inherited files are closed, and core
// dumps and debuggers are shut out where the system can do that.
func ServeModule() error {
	if err := p11.ServeModule(); err != nil {
		return fmt.Errorf("hsm: %w", err)
	}
	return nil
}
