// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build !linux

package main

import "time"

// began is when this process did.
var began = time.Now()

// monotonic is for service managers that do not exist here.
func monotonic() time.Duration { return time.Since(began) }
