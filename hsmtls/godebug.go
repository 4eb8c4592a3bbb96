// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtls

import (
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
)

// maxRSASize is the size of peer keys, in bits, up to which crypto/tls verifies
// signatures unless tlsmaxrsasize says otherwise.
const maxRSASize = 8192

// weakSettings tells for each GODEBUG key that matters which values are weak.
// Keys that only change the default of a field we always set are not listed.
var weakSettings = map[string]func(value string) bool{
	"tlssha1":            is("1"), // SHA-1 handshake signatures
	"tlsunsafeekm":       is("1"), // exporters without extended master secret
	"fips140ems":         is("0"), // FIPS mode without extended master secret
	"rsa1024min":         is("0"), // RSA keys below 1024 bits
	"x509negativeserial": is("1"), // certificates with a negative serial number
	"tlsmaxrsasize": func(value string) bool { // verification made expensive
		n, err := strconv.Atoi(value)
		return err == nil && n > maxRSASize
	},
}

func is(weak string) func(string) bool {
	return func(value string) bool { return value == weak }
}

// buildDefaults is the GODEBUG setting compiled into the program.
var buildDefaults = sync.OnceValue(func() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "DefaultGODEBUG" {
			return s.Value
		}
	}
	return ""
})

// checkGODEBUG returns an error that wraps [ErrWeakGODEBUG] and names the
// setting, if one is weak at this moment.
func checkGODEBUG() error {
	env, def := os.Getenv("GODEBUG"), buildDefaults()
	if env == "" && def == "" {
		return nil
	}
	if weak := weakSetting(env, def); weak != "" {
		return fmt.Errorf("%w: %s", ErrWeakGODEBUG, weak)
	}
	return nil
}

// weakSetting returns the first weak setting in force, as key=value. The last
// setting of a key counts, and the environment before the build's default.
func weakSetting(env, def string) string {
	seen := make(map[string]bool)
	settings := strings.Split(def+","+env, ",")
	for i := len(settings) - 1; i >= 0; i-- {
		key, value, _ := strings.Cut(settings[i], "=")
		value, _, _ = strings.Cut(value, "#") // bisect pattern
		weak, known := weakSettings[key]
		if !known || seen[key] {
			continue
		}
		seen[key] = true
		if weak(value) {
			return key + "=" + value
		}
	}
	return ""
}
