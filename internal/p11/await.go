// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package p11

import "context"

// Await returns what f does, or why ctx has ended if that is first. Then f goes on, and
// what it brings is given to drop.
func Await[T any](ctx context.Context, f func() (T, error), drop func(T)) (none T, _ error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result)
	go func() {
		value, err := f()
		select {
		case done <- result{value, err}:
		case <-ctx.Done():
			drop(value)
		}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		return none, context.Cause(ctx)
	}
}
