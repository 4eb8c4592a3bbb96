// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package p11

import (
	"fmt"
	"slices"
)

// A Mechanism is a CKM_ value (PKCS#11 v2.40 mechanisms, section 2).
type Mechanism uint

// The mechanisms this module uses or looks for.
const (
	RSAKeyPairGen Mechanism = 0x0000
	RSAPKCS       Mechanism = 0x0001
	RSAPKCSPSS    Mechanism = 0x000d
	SHA256RSAPKCS Mechanism = 0x0040
	SHA384RSAPKCS Mechanism = 0x0041
	SHA512RSAPKCS Mechanism = 0x0042
	SHA256RSAPSS  Mechanism = 0x0043
	SHA384RSAPSS  Mechanism = 0x0044
	SHA512RSAPSS  Mechanism = 0x0045
	ECKeyPairGen  Mechanism = 0x1040
	ECDSA         Mechanism = 0x1041
)

var mechanismNames = map[Mechanism]string{
	RSAKeyPairGen: "CKM_RSA_PKCS_KEY_PAIR_GEN",
	RSAPKCS:       "CKM_RSA_PKCS",
	RSAPKCSPSS:    "CKM_RSA_PKCS_PSS",
	SHA256RSAPKCS: "CKM_SHA256_RSA_PKCS",
	SHA384RSAPKCS: "CKM_SHA384_RSA_PKCS",
	SHA512RSAPKCS: "CKM_SHA512_RSA_PKCS",
	SHA256RSAPSS:  "CKM_SHA256_RSA_PKCS_PSS",
	SHA384RSAPSS:  "CKM_SHA384_RSA_PKCS_PSS",
	SHA512RSAPSS:  "CKM_SHA512_RSA_PKCS_PSS",
	ECKeyPairGen:  "CKM_EC_KEY_PAIR_GEN",
	ECDSA:         "CKM_ECDSA",

	// What tokens often have beside.
	0x0003: "CKM_RSA_X_509",
	0x0004: "CKM_MD2_RSA_PKCS",
	0x0005: "CKM_MD5_RSA_PKCS",
	0x0006: "CKM_SHA1_RSA_PKCS",
	0x0009: "CKM_RSA_PKCS_OAEP",
	0x000e: "CKM_SHA1_RSA_PKCS_PSS",
	0x0010: "CKM_DSA_KEY_PAIR_GEN",
	0x0011: "CKM_DSA",
	0x0012: "CKM_DSA_SHA1",
	0x0013: "CKM_DSA_SHA224",
	0x0014: "CKM_DSA_SHA256",
	0x0015: "CKM_DSA_SHA384",
	0x0016: "CKM_DSA_SHA512",
	0x0020: "CKM_DH_PKCS_KEY_PAIR_GEN",
	0x0021: "CKM_DH_PKCS_DERIVE",
	0x0046: "CKM_SHA224_RSA_PKCS",
	0x0047: "CKM_SHA224_RSA_PKCS_PSS",
	0x0120: "CKM_DES_KEY_GEN",
	0x0121: "CKM_DES_ECB",
	0x0122: "CKM_DES_CBC",
	0x0125: "CKM_DES_CBC_PAD",
	0x0130: "CKM_DES2_KEY_GEN",
	0x0131: "CKM_DES3_KEY_GEN",
	0x0132: "CKM_DES3_ECB",
	0x0133: "CKM_DES3_CBC",
	0x0136: "CKM_DES3_CBC_PAD",
	0x0138: "CKM_DES3_CMAC",
	0x0210: "CKM_MD5",
	0x0211: "CKM_MD5_HMAC",
	0x0220: "CKM_SHA_1",
	0x0221: "CKM_SHA_1_HMAC",
	0x0250: "CKM_SHA256",
	0x0251: "CKM_SHA256_HMAC",
	0x0255: "CKM_SHA224",
	0x0256: "CKM_SHA224_HMAC",
	0x0260: "CKM_SHA384",
	0x0261: "CKM_SHA384_HMAC",
	0x0270: "CKM_SHA512",
	0x0271: "CKM_SHA512_HMAC",
	0x0350: "CKM_GENERIC_SECRET_KEY_GEN",
	0x1042: "CKM_ECDSA_SHA1",
	0x1043: "CKM_ECDSA_SHA224",
	0x1044: "CKM_ECDSA_SHA256",
	0x1045: "CKM_ECDSA_SHA384",
	0x1046: "CKM_ECDSA_SHA512",
	0x1050: "CKM_ECDH1_DERIVE",
	0x1080: "CKM_AES_KEY_GEN",
	0x1081: "CKM_AES_ECB",
	0x1082: "CKM_AES_CBC",
	0x1085: "CKM_AES_CBC_PAD",
	0x1086: "CKM_AES_CTR",
	0x1087: "CKM_AES_GCM",
	0x108a: "CKM_AES_CMAC",
	0x1100: "CKM_DES_ECB_ENCRYPT_DATA",
	0x1101: "CKM_DES_CBC_ENCRYPT_DATA",
	0x1102: "CKM_DES3_ECB_ENCRYPT_DATA",
	0x1103: "CKM_DES3_CBC_ENCRYPT_DATA",
	0x1104: "CKM_AES_ECB_ENCRYPT_DATA",
	0x1105: "CKM_AES_CBC_ENCRYPT_DATA",
	0x2000: "CKM_DSA_PARAMETER_GEN",
	0x2001: "CKM_DH_PKCS_PARAMETER_GEN",
	0x2109: "CKM_AES_KEY_WRAP",
	0x210a: "CKM_AES_KEY_WRAP_PAD",
	0x1055: "CKM_EC_EDWARDS_KEY_PAIR_GEN",
	0x1057: "CKM_EDDSA",
}

// String returns the name in the standard, or the number of a mechanism that is
// not in the table.
func (m Mechanism) String() string {
	if name, ok := mechanismNames[m]; ok {
		return name
	}
	return fmt.Sprintf("CKM_0x%08x", uint(m))
}

// Mechanisms is the list of mechanisms of one token.
type Mechanisms []Mechanism

// Has reports whether m is in the list.
func (ms Mechanisms) Has(m Mechanism) bool { return slices.Contains(ms, m) }
