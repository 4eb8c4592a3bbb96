// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build !unix

package main

import "io/fs"

// openFlags has nothing to say where modes and links are other than on Unix.
const openFlags = 0

func noLink(_ string, err error) error { return err }

func writableByOthers(fs.FileInfo) bool { return false }

func checkOwner(string, fs.FileInfo) error { return nil }
