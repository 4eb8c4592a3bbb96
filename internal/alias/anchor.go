// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package alias

import (
	"bytes"
	"crypto/sha256"
	"strings"
)

// The marks of a root that the security officer has written. The CKA_ID says
// whose root it is before the SHA-256 follows.
const (
	anchorPrefix = ownPrefix + "anchor-1:"
	anchorLabel  = reservedForAnchors + "of "
)

// AnchorID returns the CKA_ID of a root on the token. Kind is one word.
func AnchorID(kind string, der []byte) []byte { return id(anchorPrefix+kind+":", der) }

// AnchorLabel returns the CKA_LABEL of a root on the token.
func AnchorLabel(kind string, der []byte) string { return label(anchorLabel+kind+" ", der) }

// IsAnchorID reports whether id claims to be that of a root on the token.
func IsAnchorID(id []byte) bool { return bytes.HasPrefix(id, []byte(anchorPrefix)) }

// AnchorKind returns the kind in an id, if it is that of the root der.
func AnchorKind(id, der []byte) (kind string, ok bool) {
	rest, ok := strings.CutPrefix(string(id), anchorPrefix)
	if !ok {
		return "", false
	}
	kind, sum, ok := strings.Cut(rest, ":")
	want := sha256.Sum256(der)
	return kind, ok && sum == string(want[:])
}
