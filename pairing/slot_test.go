// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package pairing

import (
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestStrangersKeepNoPlace has strangers ask for a WebSocket in ways that are
// refused, and announce bodies that never come: they are answered once and gone.
func TestStrangersKeepNoPlace(t *testing.T) {
	t.Parallel()
	w := serve(t)
	const upgrade = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
	for name, request := range map[string]string{
		"no key":                  upgrade + "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\r\n",
		"other version":           upgrade + "Connection: keep-alive, upgrade\r\nSec-WebSocket-Version: 12\r\n\r\n",
		"no word of an upgrade":   upgrade + "\r\n",
		"upgrade with a body":     upgrade + "Connection: Upgrade\r\nContent-Length: 100\r\n\r\n",
		"elsewhere with a body":   "POST /status HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n",
		"a body that is too slow": "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n",
		"a body that is too long": "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 20000\r\n\r\n" + strings.Repeat(" ", maxRequest+1),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := w.pos(t, "https").provider(nil)
			require.NoError(t, err)
			d := w.pos(t, "https").dialer(p, "")
			d.NoClientCertificate = true
			conn, err := d.DialContext(t.Context(), "tcp", w.addr)
			require.NoError(t, err)
			defer conn.Close()
			_, err = conn.Write([]byte(request))
			require.NoError(t, err)
			require.NoError(t, conn.SetDeadline(time.Now().Add(6*requestTime)))
			text, err := io.ReadAll(conn)
			require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the terminal closes it, not the test")
			require.Contains(t, string(text), "HTTP/1.1 4")
		})
	}
}
