// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"context"
	"time"
)

// Follow refreshes the store again and again until ctx ends, so that what another
// process has injected or removed comes into force here. Connections stay; their
// owner hears of a change from [Store.Watch]. A refresh that fails leaves the
// store as it was, and the first failure of several is logged. To look at once, on
// a signal say, call [Store.Refresh]. Zero and negative intervals only wait for ctx.
func (s *Store) Follow(ctx context.Context, interval time.Duration) {
	if interval <= 0 {
		<-ctx.Done()
		return
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		err := s.Refresh(ctx)
		if err != nil && !failing && ctx.Err() == nil {
			s.log.WarnContext(ctx, "trust store cannot be read again and stays as it was", "error", err)
		}
		failing = err != nil
	}
}
