// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package p11

import (
	"context"
	"time"
)

// Outlasting returns a context that ends some time after ctx, for a write: a token does
// not stop writing because ctx ends, and what it has written after it was thought to be
// withdrawn would stay.
func Outlasting(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(d, cancel) })
	return longer, func() {
		stop()
		cancel()
	}
}
