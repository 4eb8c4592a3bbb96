// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsm

import (
	"fmt"
	"os"
	"strconv"
)

// ConfigFromEnv reads a configuration from the environment:
//
//	HSMTLS_URI       RFC 7512 URI
//	HSMTLS_MODULE    path of the PKCS#11 library
//	HSMTLS_TOKEN     label of the token
//	HSMTLS_SERIAL    serial number of the token
//	HSMTLS_SLOT      slot of the token
//	HSMTLS_PIN_FILE  file with the user PIN
//
// Variables that are not set leave their field empty. It opens nothing; its
// error is about a value that cannot be one.
func ConfigFromEnv() (Config, error) {
	cfg := Config{
		URI:    os.Getenv("HSMTLS_URI"),
		Module: os.Getenv("HSMTLS_MODULE"),
		Token:  os.Getenv("HSMTLS_TOKEN"),
		Serial: os.Getenv("HSMTLS_SERIAL"),
	}
	if s := os.Getenv("HSMTLS_SLOT"); s != "" {
		n, err := strconv.ParseUint(s, 10, 32)
		if err != nil {
			return Config{}, fmt.Errorf("hsm: HSMTLS_SLOT %q is no number", s)
		}
		slot := uint(n)
		cfg.SlotID = &slot
	}
	if path := os.Getenv("HSMTLS_PIN_FILE"); path != "" {
		cfg.PIN = PINFile(path)
	}
	return cfg, nil
}
