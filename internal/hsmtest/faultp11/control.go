// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build unix

package faultp11

import (
	"errors"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"unsafe"
)

// functions are the counted functions, in the order of faultp11.h. A call that
// only asks how long the signature will be is a function of its own.
var functions = [...]string{
	"C_Initialize", "C_Finalize", "C_GetInfo", "C_GetSlotList", "C_GetSlotInfo", "C_GetTokenInfo",
	"C_GetMechanismList", "C_GetMechanismInfo", "C_InitToken", "C_InitPIN", "C_SetPIN",
	"C_OpenSession", "C_CloseSession", "C_CloseAllSessions", "C_GetSessionInfo", "C_Login", "C_Logout",
	"C_CreateObject", "C_CopyObject", "C_DestroyObject", "C_GetAttributeValue", "C_SetAttributeValue",
	"C_FindObjectsInit", "C_FindObjects", "C_FindObjectsFinal",
	"C_SignInit", "C_Sign", "C_SignUpdate", "C_SignFinal", "C_GenerateKeyPair", "C_GenerateRandom",
	"C_Sign(NULL)", "C_SignFinal(NULL)",
}

// magic and version tell a control file from others (faultp11.h).
const (
	magic   = 0x313170746c756166
	version = 2
)

// A control is struct control of faultp11.h, which explains the fields. It is
// the shared memory itself: atomic operations only.
type control struct {
	magic    uint64
	version  uint64
	size     uint64
	module   [4096]byte
	variable [64]byte
	value    [4096]byte

	owner atomic.Uint64
	total atomic.Uint64
	kill  atomic.Uint64
	late  atomic.Uint64

	delay    atomic.Uint64
	parallel atomic.Uint64
	release  atomic.Uint64
	hanging  atomic.Uint64

	lose           atomic.Uint64
	uninitialise   atomic.Uint64
	disconnect     atomic.Uint64
	disconnectCode atomic.Uint64
	removed        atomic.Uint64

	maxSessions   atomic.Uint64
	maxRWSessions atomic.Uint64
	sessions      atomic.Uint64
	sessionsMax   atomic.Uint64

	pinFlags atomic.Uint64
	pinTries atomic.Uint64
	pinLeft  atomic.Uint64

	finalizedInside atomic.Uint64
	sharedSession   atomic.Uint64

	hidden          atomic.Uint64
	hiddenMechanism [64]atomic.Uint64
	refused         atomic.Uint64
	refusal         [32]refusal

	function [len(functions)]counted
}

type counted struct {
	name      [32]byte
	calls     atomic.Uint64
	hits      atomic.Uint64
	inside    atomic.Uint64
	insideMax atomic.Uint64
	rule      atomic.Uint64
	delay     atomic.Uint64
}

type refusal struct {
	class     atomic.Uint64
	attribute atomic.Uint64
	code      atomic.Uint64
	onlyTrue  atomic.Uint64
}

// newControl makes the control file and maps it. The mapping stays as long as
// the process: calls that hang beyond the end of a test still look at it.
func newControl(path string, cfg Config) (*control, error) {
	var c *control
	variable, value, _ := strings.Cut(cfg.Env, "=")
	if len(cfg.Module) >= len(c.module) || len(variable) >= len(c.variable) || len(value) >= len(c.value) {
		return nil, errors.New("path or variable is too long")
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size := int(unsafe.Sizeof(*c))
	if err := f.Truncate(int64(size)); err != nil {
		return nil, err
	}
	shared, err := syscall.Mmap(int(f.Fd()), 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	c = (*control)(unsafe.Pointer(&shared[0]))
	c.magic, c.version, c.size = magic, version, uint64(size)
	copy(c.module[:], cfg.Module)
	copy(c.variable[:], variable)
	copy(c.value[:], value)
	for i, name := range functions {
		copy(c.function[i].name[:], name)
	}
	c.owner.Store(uint64(os.Getpid()))
	return c, nil
}
