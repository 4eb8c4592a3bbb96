// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build unix && cgo

package screen_test

import (
	"bytes"
	"cmp"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// shoot looks at what is shown, and with $HSMTLS_SCREENSHOTS keeps it for the
// documentation.
func (d *display) shoot(t *testing.T, name string) {
	t.Helper()
	d.fits(t)
	if os.Getenv("HSMTLS_SCREENSHOTS") == "" {
		return
	}
	var shot []byte
	d.run(t, chromedp.CaptureScreenshot(&shot))
	file := filepath.Join("..", "..", "docs", "images", "screen-"+name+".png")
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(t, os.WriteFile(file, smaller(t, shot), 0o644))
}

// smaller makes a PNG of few colours of one of many.
func smaller(t *testing.T, shot []byte) []byte {
	t.Helper()
	from, err := png.Decode(bytes.NewReader(shot))
	require.NoError(t, err)
	to := image.NewPaletted(from.Bounds(), frequent(from))
	draw.Draw(to, to.Bounds(), from, image.Point{}, draw.Src)
	var out bytes.Buffer
	require.NoError(t, (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&out, to))
	return out.Bytes()
}

// frequent are the colours most in use, as many as one byte counts.
func frequent(i image.Image) color.Palette {
	count := map[color.Color]int{}
	for y := range i.Bounds().Dy() {
		for x := range i.Bounds().Dx() {
			count[i.At(x, y)]++
		}
	}
	all := slices.SortedFunc(maps.Keys(count), func(a, b color.Color) int { return cmp.Compare(count[b], count[a]) })
	return all[:min(len(all), 256)]
}
