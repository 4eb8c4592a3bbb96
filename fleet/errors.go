// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package fleet

import (
	"errors"
	"fmt"
	"time"
)

// The errors to branch on. They are found with errors.Is.
var (
	// ErrIncomplete is returned for a Fleet without Provider or Suffix, and for a
	// Terminal without Serial, Addr or Alias.
	ErrIncomplete = errors.New("fleet: incomplete")

	// ErrUnknown is returned for a terminal that is not in the fleet.
	ErrUnknown = errors.New("fleet: no such terminal")

	// ErrPaused is found in a [*PausedError].
	ErrPaused = errors.New("fleet: terminal is left alone for a while")
)

// A PausedError is the answer of a terminal that has failed too often: nothing
// was dialled.
type PausedError struct {
	Serial   string
	Until    time.Time // when it is dialled again
	Failures int       // in a row
	Err      error     // the last failure
}

// Error says until when, and why.
func (e *PausedError) Error() string {
	return fmt.Sprintf("fleet: terminal %s is left alone until %s after %d failures: %v",
		e.Serial, e.Until.UTC().Format(time.RFC3339), e.Failures, e.Err)
}

// Unwrap returns [ErrPaused] and the last failure.
func (e *PausedError) Unwrap() []error { return []error{ErrPaused, e.Err} }
