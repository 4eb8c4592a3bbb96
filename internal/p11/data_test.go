// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo

package p11_test

import (
	"bytes"
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/p11"
)

func TestDataObjects(t *testing.T) {
	t.Parallel()
	token, ctx := open(t, config(t)), t.Context()
	all := p11.DataFilter{Application: "test"}
	none, err := token.Data(ctx, all)
	require.NoError(t, err)
	require.Empty(t, none)

	large := bytes.Repeat([]byte("0123456789abcdef"), 1<<16) // 1 MiB
	for label, value := range map[string][]byte{"large": large, "small": {0}} {
		d, err := token.CreateData(ctx, p11.DataTemplate{Label: label, Application: "test", Value: value, Private: label == "large"})
		require.NoError(t, err)
		require.Equal(t, value, d.Value)
		require.Equal(t, label == "large", d.Private)
	}
	_, err = token.CreateData(ctx, p11.DataTemplate{Label: "large", Application: "other", Value: []byte("x")})
	require.NoError(t, err)

	found, err := token.Data(ctx, all)
	require.NoError(t, err)
	require.Len(t, found, 2)
	found, err = token.Data(ctx, p11.DataFilter{Application: "test", Label: "large"})
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.Equal(t, large, found[0].Value)
	require.Equal(t, "large", found[0].Label)
	require.Equal(t, "test", found[0].Application)

	require.NoError(t, token.Destroy(ctx, found[0].Object))
	found, err = token.Data(ctx, p11.DataFilter{Label: "large"})
	require.NoError(t, err)
	require.Len(t, found, 1, "that of the other application stays")
}

func TestDataIsPrivate(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	token := open(t, cfg)
	_, err := token.CreateData(t.Context(), p11.DataTemplate{Label: "secret", Application: "test", Value: []byte("x"), Private: true})
	require.NoError(t, err)
	again := open(t, cfg)
	found, err := again.Data(t.Context(), p11.DataFilter{Label: "secret"})
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.True(t, found[0].Private)
}

func TestDataRefusals(t *testing.T) {
	t.Parallel()
	token := open(t, config(t))
	for name, template := range map[string]p11.DataTemplate{
		"no label":       {Application: "test", Value: []byte("x")},
		"no application": {Label: "x", Value: []byte("x")},
		"no value":       {Label: "x", Application: "test"},
	} {
		_, err := token.CreateData(t.Context(), template)
		require.Error(t, err, name)
	}
	found, err := token.Data(t.Context(), p11.DataFilter{})
	require.NoError(t, err)
	require.Empty(t, found, "nothing has reached the token")

	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = token.Data(cancelled, p11.DataFilter{})
	require.ErrorIs(t, err, context.Canceled)
	_, err = token.CreateData(cancelled, p11.DataTemplate{Label: "x", Application: "test", Value: []byte("x")})
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, token.Close())
	_, err = token.Data(t.Context(), p11.DataFilter{})
	require.ErrorIs(t, err, p11.ErrClosed)
}
