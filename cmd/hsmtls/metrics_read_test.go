// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
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
