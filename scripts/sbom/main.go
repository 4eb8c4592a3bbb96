// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

// Sbom says what a program built by Go is made of: it reads what Go and the
// linker wrote into the very file, and the licences of the modules from the
// module cache. scripts/release runs it in the folder of the main module.
//
//	sbom -o hsmtls.spdx.json -notices third-party.txt bin/hsmtls
//
// The bill of materials is SPDX 2.3 as JSON. Its time is $SOURCE_DATE_EPOCH:
// the same program gives the same bill.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"strconv"
	"time"
)

func main() {
	out := flag.String("o", "", "write the bill of materials to `FILE`")
	notices := flag.String("notices", "", "write the licences of what is linked in to `FILE`")
	libc := flag.Bool("libc", false, "print the oldest glibc that the program runs on, and nothing else")
	flag.Parse()
	if err := run(flag.Args(), *out, *notices, *libc); err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}

func run(args []string, out, notices string, libc bool) error {
	if len(args) != 1 || !libc && (out == "" || notices == "") {
		return errors.New("usage: sbom {-o FILE -notices FILE | -libc} PROGRAM")
	}
	if libc {
		oldest, err := oldestLibc(args[0])
		if err != nil {
			return err
		}
		fmt.Println(oldest)
		return nil
	}
	created, err := epoch()
	if err != nil {
		return err
	}
	p, err := readProgram(args[0])
	if err != nil {
		return err
	}
	if err := p.readLicences(); err != nil {
		return err
	}
	bill, err := json.MarshalIndent(p.document(created), "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(out, append(bill, '\n'), 0o644); err != nil {
		return err
	}
	return os.WriteFile(notices, p.notices(), 0o644)
}

// epoch is the time of the sources, which the caller knows.
func epoch() (time.Time, error) {
	seconds, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64)
	if err != nil {
		return time.Time{}, errors.New("SOURCE_DATE_EPOCH is not set to a number of seconds")
	}
	return time.Unix(seconds, 0).UTC(), nil
}
