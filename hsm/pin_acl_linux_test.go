// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsm

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	aclGroupOwner = 0x04
	aclGroup      = 0x08
	aclOthers     = 0x20
	aclNobody     = 0xffffffff
	mayRead       = 4
)

type granted struct {
	tag, allowed uint16
	id           uint32
}

func accessList(entries ...granted) []byte {
	list := binary.LittleEndian.AppendUint32(nil, aclVersion)
	for _, e := range entries {
		list = binary.LittleEndian.AppendUint16(list, e.tag)
		list = binary.LittleEndian.AppendUint16(list, e.allowed)
		list = binary.LittleEndian.AppendUint32(list, e.id)
	}
	return list
}

// credential is the list of a file that systemd has handed over to a user.
func credential(uid uint32) []byte {
	return accessList(granted{aclOwner, mayRead, aclNobody}, granted{aclUser, mayRead, uid},
		granted{aclGroupOwner, 0, aclNobody}, granted{aclMask, mayRead, aclNobody}, granted{aclOthers, 0, aclNobody})
}

func TestGrantsOnly(t *testing.T) {
	t.Parallel()
	owner := granted{aclOwner, mayRead, aclNobody}
	for name, tt := range map[string]struct {
		list []byte
		want bool
	}{
		"credential":         {credential(7), true},
		"of another user":    {credential(8), false},
		"owning group":       {accessList(owner, granted{aclGroupOwner, mayRead, aclNobody}), false},
		"a group":            {accessList(owner, granted{aclGroup, mayRead, 7}), false},
		"others":             {accessList(owner, granted{aclOthers, mayRead, aclNobody}), false},
		"unknown tag":        {accessList(owner, granted{0x40, mayRead, 7}), false},
		"two users":          {accessList(owner, granted{aclUser, mayRead, 7}, granted{aclUser, mayRead, 9}), false},
		"nothing allowed":    {accessList(owner, granted{aclGroup, 0, 9}), true},
		"empty":              {nil, false},
		"no entry":           {accessList(), false},
		"broken off":         {credential(7)[:15], false},
		"of another version": {append([]byte{3, 0, 0, 0}, credential(7)[4:]...), false},
	} {
		require.Equal(t, tt.want, grantsOnly(tt.list, 7), name)
	}
}

// TestPINFileOfCredential reads a PIN as systemd hands it over: its mode is 0440, and its
// list lets nobody but this user read it.
func TestPINFileOfCredential(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "pin")
	require.NoError(t, os.WriteFile(path, []byte("1234\n"), 0o400))
	set := func(list []byte) { // which cannot be done everywhere: then the mode alone counts
		if err := syscall.Setxattr(path, aclAttribute, list, 0); !errors.Is(err, syscall.ENOTSUP) {
			require.NoError(t, err)
		}
	}
	set(credential(uint32(os.Geteuid())))
	got, err := PINFile(path).get(t.Context())
	require.NoError(t, err)
	require.Equal(t, "1234", string(got))

	set(credential(uint32(os.Geteuid()) + 1))
	info, err := os.Stat(path)
	require.NoError(t, err)
	if info.Mode().Perm() == 0o440 {
		_, err = PINFile(path).get(t.Context())
		require.ErrorIs(t, err, ErrPINFile)
	}
}
