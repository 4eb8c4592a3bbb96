// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsm_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/hsmtls/hsmtls-go/hsm"
)

func ExampleOpen() {
	tok, err := hsm.Open(context.Background(), hsm.Config{
		URI: "pkcs11:token=terminal?module-path=/usr/lib/softhsm/libsofthsm2.so",
		PIN: hsm.PINFile("/run/pin"),
	})
	switch {
	case errors.Is(err, hsm.ErrPIN):
		log.Fatal("wrong PIN; it is not tried again")
	case err != nil:
		log.Fatal(err)
	}
	defer tok.Close()
	log.Print(tok.Status().State)
}

func ExamplePIN() {
	cfg := hsm.Config{Token: "terminal", PIN: hsm.PINEnv("TERMINAL_PIN")}
	fmt.Println(cfg.PIN)
	fmt.Printf("%#v\n", cfg.PIN)
	// Output:
	// [redacted]
	// [redacted]
}
