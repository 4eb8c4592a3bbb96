// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package p11

// onePage is how much of an object is sure to reach the disk as a whole or not
// at all, the attributes beside the certificate allowed for.
const onePage = 4096 - 1024

// MayBeCut reports whether a token on a full disk may have kept the beginning of one
// of these values only, and shows the whole until it is opened again. SoftHSM 2.6.1
// does not look whether the last part of a file reached the disk, and shows the object
// as it has it in memory. Whoever has written such a value writes one object more and
// removes it: if the disk is full now, the value was not whole.
func MayBeCut(values ...[]byte) bool {
	for _, v := range values {
		if len(v) > onePage {
			return true
		}
	}
	return false
}
