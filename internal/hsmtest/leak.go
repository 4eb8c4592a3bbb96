// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtest

import (
	"fmt"
	"os"
	"time"

	"go.uber.org/goleak"
)

// LeakFree returns the exit code of a package whose tests ended with code: 1 if they
// passed and have left goroutines behind, which it prints. On a busy machine those that
// are about to end may take longer than the half second of goleak: they have 30 s.
func LeakFree(code int) int {
	if code != 0 {
		return code
	}
	err := goleak.Find()
	for end := time.Now().Add(30 * time.Second); err != nil && time.Now().Before(end); {
		err = goleak.Find()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
