// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package pairing

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseCode(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"8QW1YS1D":   "8QW1YS1D",
		"js1xsjqt":   "JS1XSJQT",
		"8qw1-ys1d":  "8QW1YS1D",
		" 8QW1 YS1D": "8QW1YS1D",
		"oOiIlL00":   "00111100",
	} {
		code, err := ParseCode(text)
		require.NoError(t, err, text)
		require.Equal(t, want, code.Reveal())
	}
	for _, text := range []string{"", "8QW1YS1", "8QW1YS1D0", "UUUUUUUU", "8QW1YS1!", "8QW1YS1Ä", "ſQW1YS1D", "8QW1YS1D\n", "________"} {
		code, err := ParseCode(text)
		require.ErrorIs(t, err, ErrCode, "%q", text)
		require.True(t, code.IsZero())
	}
}

func TestNewCode(t *testing.T) {
	t.Parallel()
	seen := make(map[rune]int)
	for range 4000 {
		code := newCode()
		again, err := ParseCode(code.Reveal())
		require.NoError(t, err)
		require.True(t, again.equal(code))
		for _, r := range code.Reveal() {
			seen[r]++
		}
	}
	require.Len(t, seen, len(codeAlphabet))
	for r, n := range seen { // 1000 each
		require.InDelta(t, 1000, n, 200, "%c", r)
	}
	require.False(t, Code{}.equal(Code{}))
}

func TestCodeDoesNotPrint(t *testing.T) {
	t.Parallel()
	code, err := ParseCode("8QW1YS1D")
	require.NoError(t, err)
	var out bytes.Buffer
	holder := struct {
		Code  Code
		State State
		Event Event
	}{code, State{Code: code}, Event{State: State{Code: code}}}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t"} {
		fmt.Fprintf(&out, verb, code)
		fmt.Fprintf(&out, verb, &code)
		fmt.Fprintf(&out, verb, holder)
		fmt.Fprintf(&out, verb, Request{Code: code})
	}
	text, err := json.Marshal(holder)
	require.NoError(t, err)
	out.Write(text)
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(h).Info("x", "code", code, "pointer", &code, "holder", holder)
	}
	require.Contains(t, out.String(), redacted)
	require.NotContains(t, strings.ToUpper(out.String()), "8QW1YS1D")
	require.NotContains(t, strings.ToUpper(out.String()), fmt.Sprintf("%X", "8QW1YS1D"))
}
