// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build !cgo

package p11

import "context"

// Open returns [ErrNoCgo].
func Open(context.Context, Config) (Token, error) { return nil, ErrNoCgo }

// List returns [ErrNoCgo].
func List(context.Context, string, string) ([]TokenInfo, error) { return nil, ErrNoCgo }

// InitToken returns [ErrNoCgo].
func InitToken(context.Context, InitRequest) (TokenInfo, error) { return TokenInfo{}, ErrNoCgo }

// InitPIN returns [ErrNoCgo].
func InitPIN(context.Context, PINRequest) (TokenInfo, error) { return TokenInfo{}, ErrNoCgo }

// AsOfficer returns [ErrNoCgo].
func AsOfficer(context.Context, OfficerRequest, func(Officer) error) error { return ErrNoCgo }

// ServeModule returns [ErrNoCgo].
func ServeModule() error { return ErrNoCgo }
