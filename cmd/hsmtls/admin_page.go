// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"time"
)

//go:embed admin
var adminFiles embed.FS

// maxRows is how many rows a table on the page has.
const maxRows = 20

var adminPage = template.Must(template.New("page.html").Funcs(template.FuncMap{
	"day":     date,
	"clock":   func(t time.Time) string { return t.UTC().Format(time.DateTime) },
	"left":    func(t time.Time) string { return leftWords(time.Until(t)) },
	"urgency": func(t time.Time) string { return urgency(time.Until(t)) },
	"took":    func(seconds float64) string { return spanWords(time.Duration(seconds * float64(time.Second))) },
	"size":    sizeWords,
	"rows":    func(n int) int { return min(n, maxRows) },
	"more":    func(n int) int { return max(n-maxRows, 0) },
}).ParseFS(adminFiles, "admin/page.html"))

// page shows the status to a person. It needs no script: the browser loads it again.
func (d *admin) page(w http.ResponseWriter, r *http.Request) {
	var b bytes.Buffer
	if err := adminPage.Execute(&b, d.status(r.Context())); err != nil {
		http.Error(w, "the page cannot be made", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(b.Bytes())
}

func stylesheet(w http.ResponseWriter, r *http.Request) {
	http.ServeFileFS(w, r, adminFiles, "admin/admin.css")
}

// leftWords is how long something is still good.
func leftWords(left time.Duration) string {
	if left < 0 {
		return "ended"
	}
	return "in " + spanWords(left)
}

func urgency(left time.Duration) string {
	switch {
	case left < 0:
		return "bad"
	case left < soon:
		return "warn"
	}
	return ""
}

// spanWords is a time in the two units that a person wants to know.
func spanWords(d time.Duration) string {
	days, hours := int(d.Hours())/24, int(d.Hours())%24
	switch {
	case days >= 3:
		return fmt.Sprintf("%d days", days)
	case days > 0:
		return fmt.Sprintf("%d d %d h", days, hours)
	case d >= time.Hour:
		return fmt.Sprintf("%d h %d min", hours, int(d.Minutes())%60)
	case d >= time.Minute:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	}
	if d >= time.Second {
		return d.Round(time.Second).String()
	}
	return d.Round(time.Millisecond).String()
}

// sizeWords is a number of bytes.
func sizeWords(n uint64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	value, prefix := float64(n), -1
	for value >= unit && prefix < 4 {
		value /= unit
		prefix++
	}
	return fmt.Sprintf("%.1f %ciB", value, "KMGTP"[prefix])
}
