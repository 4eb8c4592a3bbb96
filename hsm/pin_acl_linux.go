// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsm

import (
	"encoding/binary"
	"fmt"
	"os"
	"syscall"
)

// An access control list as the kernel keeps it, see acl(5): a version, then entries of
// tag, permissions and id, all little-endian.
const (
	aclAttribute = "system.posix_acl_access"
	aclVersion   = 2
	aclHeader    = 4
	aclEntry     = 8

	aclOwner = 0x01
	aclUser  = 0x02
	aclMask  = 0x10
)

// ownersOnly reports whether the mode of f says more than is so: where a file has an access
// control list, the group's bits are the list's mask. systemd hands credentials to a service
// that way: they belong to root, and the list lets the service's user read them.
func ownersOnly(f *os.File) bool {
	buf := make([]byte, 4096)
	n, err := syscall.Getxattr(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), aclAttribute, buf)
	if err != nil {
		return false
	}
	return grantsOnly(buf[:n], uint32(os.Geteuid()))
}

// grantsOnly reports whether a list lets nobody but the file's owner and the user uid do
// anything.
func grantsOnly(list []byte, uid uint32) bool {
	if len(list) <= aclHeader || (len(list)-aclHeader)%aclEntry != 0 || binary.LittleEndian.Uint32(list) != aclVersion {
		return false
	}
	for e := list[aclHeader:]; len(e) > 0; e = e[aclEntry:] {
		tag, allowed, id := binary.LittleEndian.Uint16(e), binary.LittleEndian.Uint16(e[2:]), binary.LittleEndian.Uint32(e[4:])
		switch {
		case allowed == 0, tag == aclOwner, tag == aclMask, tag == aclUser && id == uid:
		default:
			return false
		}
	}
	return true
}
