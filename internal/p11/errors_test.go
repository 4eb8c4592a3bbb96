// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package p11

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestErrorIs(t *testing.T) {
	t.Parallel()
	for code, want := range codeSentinels {
		err := fmt.Errorf("outer: %w", &Error{Op: "C_Any", Code: code})
		require.ErrorIs(t, err, want)
		require.NotEqual(t, "unknown code", CodeName(code))
	}
	for code := range codeHints {
		require.NotEqual(t, "unknown code", CodeName(code))
	}
	require.False(t, errors.Is(&Error{Op: "C_Any", Code: 0x1234}, nil))
	require.NotErrorIs(t, &Error{Op: "C_Any", Code: ckrGeneralError}, ErrPIN)
}

func TestErrorText(t *testing.T) {
	t.Parallel()
	require.Equal(t, "C_CreateObject: CKR_ACTION_PROHIBITED (0x1b)", (&Error{Op: "C_CreateObject", Code: 0x1b}).Error())
	require.Contains(t, (&Error{Op: "C_Login", Code: ckrPINIncorrect}).Error(), "CKR_PIN_INCORRECT (0xa0), ")
	require.Contains(t, (&Error{Op: "C_Sign", Code: 0x80000007}).Error(), "vendor code 7")
	require.Contains(t, (&Error{Op: "C_Sign", Code: 0x7777}).Error(), "unknown code (0x7777)")
}

func TestTokenErrorSaysWhatIsThere(t *testing.T) {
	t.Parallel()
	slot := uint(7)
	found := []TokenInfo{
		{Label: "one", Serial: "s1", Slot: 1, Flags: TokenFlags{Initialized: true}},
		{Label: "one", Serial: "s2", Slot: 2, Flags: TokenFlags{Initialized: true}},
		{Slot: 3},
	}
	none := &TokenError{Module: "m", Select: Selector{Serial: "x", Slot: &slot}, Found: found}
	require.False(t, none.Ambiguous())
	require.Equal(t, `no token matches serial x and slot 7 in m, which has "one" (serial s1, slot 1), "one" (serial s2, slot 2), an uninitialised token (slot 3)`, none.Error())
	two := &TokenError{Module: "m", Select: Selector{Label: "one"}, Found: found}
	require.True(t, two.Ambiguous())
	require.Contains(t, two.Error(), `2 tokens match label "one" in m`)
	require.Contains(t, (&TokenError{Module: "m"}).Error(), "no token at all")
}

// TestTwins: a slot is no name, so a token that is like another in all else cannot be
// found again.
func TestTwins(t *testing.T) {
	t.Parallel()
	slot, blank := uint(2), uint(3)
	found := []TokenInfo{
		{Label: "one", Serial: "s", Slot: 1, Flags: TokenFlags{Initialized: true}},
		{Label: "one", Serial: "s", Slot: 2, Flags: TokenFlags{Initialized: true}},
		{Slot: 3}, {Slot: 4},
	}
	_, err := chooseLasting("m", Selector{Slot: &slot}, found)
	var refused *TokenError
	require.ErrorAs(t, err, &refused)
	require.True(t, refused.Ambiguous())
	require.ErrorContains(t, err, "nothing tells them apart")
	info, err := chooseLasting("m", Selector{Slot: &slot}, found[1:])
	require.NoError(t, err)
	require.Equal(t, slot, info.Slot)
	_, err = chooseLasting("m", Selector{Slot: &blank}, found)
	require.NoError(t, err, "it is refused for what it is")
}
