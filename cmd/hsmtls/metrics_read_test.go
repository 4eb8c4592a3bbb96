// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"context"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
	"github.com/hsmtls/hsmtls-go/keystore"
)

// TestGathererSurvivesToken has labels as anybody may have written them to a token: one
// bad certificate must not cost all metrics.
func TestGathererSurvivesToken(t *testing.T) {
	t.Parallel()
	const name = "hsmtls_certificate_expiry_timestamp_seconds"
	m := newMetrics(newTally())
	m.reads(func(emit emitter) {
		for i, alias := range []string{"twice", "twice", "no\xffUTF-8", "two\nlines", "\x1b[31m"} {
			emit(name, float64(i), alias)
		}
		for i := range 2 * maxSeries {
			emit(name, 1, strconv.Itoa(i))
		}
	}, name)
	families, err := m.registry.Gather()
	require.NoError(t, err)
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		require.Len(t, f.GetMetric(), maxSeries)
		values := make(map[string]float64)
		for _, one := range f.GetMetric() {
			values[one.GetLabel()[0].GetValue()] = one.GetGauge().GetValue()
		}
		require.Zero(t, values["twice"], "the first counts")
		require.Contains(t, values, "no\uFFFDUTF-8")
		require.Contains(t, values, "two; lines")
		require.Contains(t, values, `\x1b[31m`)
		return
	}
	require.Fail(t, "nothing gathered")
}

func TestMetricNamed(t *testing.T) {
	t.Parallel()
	require.Panics(t, func() { metricNamed("hsmtls_nothing") })
}

// TestInventoryOutlivesWhoAsks holds that who goes before the token has answered leaves no
// failure to the others.
func TestInventoryOutlivesWhoAsks(t *testing.T) {
	t.Parallel()
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	i := &inventory{keys: keystore.New(hsmtest.Token(t))}
	_, err := i.list(gone)
	require.NoError(t, err)
	_, err = i.list(t.Context())
	require.NoError(t, err)
}
