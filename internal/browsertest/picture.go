// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package browsertest

import (
	"bytes"
	"cmp"
	"context"
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
)

// Keep has a picture taken and keeps it for the documentation as NAME.png, with
// $HSMTLS_SCREENSHOTS; without it does nothing. The test is that of a package two
// folders below the root.
func Keep(t testing.TB, browser context.Context, name string, take func(shot *[]byte) chromedp.Action) {
	t.Helper()
	if os.Getenv("HSMTLS_SCREENSHOTS") == "" {
		return
	}
	var shot []byte
	if err := chromedp.Run(browser, take(&shot)); err != nil {
		t.Fatal(err)
	}
	small, err := smaller(shot)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join("..", "..", "docs", "images", name+".png")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, small, 0o644); err != nil {
		t.Fatal(err)
	}
}

// smaller makes a PNG of few colours of one of many.
func smaller(shot []byte) ([]byte, error) {
	from, err := png.Decode(bytes.NewReader(shot))
	if err != nil {
		return nil, err
	}
	to := image.NewPaletted(from.Bounds(), frequent(from))
	draw.Draw(to, to.Bounds(), from, image.Point{}, draw.Src)
	var out bytes.Buffer
	err = (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&out, to)
	return out.Bytes(), err
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
