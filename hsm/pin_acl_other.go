// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build !linux

package hsm

import "os"

// ownersOnly has no access control lists to look at.
func ownersOnly(*os.File) bool { return false }
