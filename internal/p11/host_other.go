// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo && !unix

package p11

import (
	"errors"
	"log/slog"
	"os"
)

var errNoHost = errors.New("module hosts need a Unix system")

func startHost(*module, *slog.Logger) (library, error) { return nil, errNoHost }

// ServeModule needs a Unix system.
func ServeModule() error { return errNoHost }

func (h *hosted) connect() (*os.File, error) { return nil, errNoHost }

func hangUp(*os.File) {}
