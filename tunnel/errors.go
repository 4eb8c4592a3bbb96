// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package tunnel

import (
	"errors"
	"fmt"
	"net"
)

var (
	// ErrConfig is returned by [Listen] and [Config.Check] for a field that is
	// missing, malformed, out of range or of the other mode.
	ErrConfig = errors.New("tunnel: configuration is wrong")

	// ErrPlain is returned by [Listen] and [Config.Check] when the plain side is
	// neither a Unix socket nor a loopback address, and by connecting when
	// "localhost" turns out not to be one.
	ErrPlain = errors.New("tunnel: plain side is not on loopback")

	// ErrNoRules is returned by [Listen] and [Config.Check] for a server that
	// would accept nobody.
	ErrNoRules = errors.New("tunnel: no rule says who is accepted")

	// ErrNotAllowed is the reason for refusing a trusted peer that no rule names.
	ErrNotAllowed = errors.New("tunnel: no rule allows the peer")
)

func incomplete(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrConfig, fmt.Sprintf(format, args...))
}

func isClosed(err error) bool { return errors.Is(err, net.ErrClosed) }
