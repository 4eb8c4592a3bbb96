// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package testpki

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
)

var (
	oidData             = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
	oidSignedData       = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	oidAlternativeNames = asn1.ObjectIdentifier{2, 5, 29, 17}
)

// CertsOnly returns certificates as PKCS #7 signed data that nobody signed (RFC
// 5272 section 4.1), in DER.
func CertsOnly(certs ...*x509.Certificate) []byte {
	type content struct{ Type asn1.ObjectIdentifier }
	type signedData struct {
		Version      int
		Digests      asn1.RawValue
		Content      content
		Certificates asn1.RawValue
		Signers      asn1.RawValue
	}
	type contentInfo struct {
		Type    asn1.ObjectIdentifier
		Content signedData `asn1:"explicit,tag:0"`
	}
	var all []byte
	for _, c := range certs {
		all = append(all, c.Raw...)
	}
	none := asn1.RawValue{Tag: asn1.TagSet, IsCompound: true}
	return must(asn1.Marshal(contentInfo{oidSignedData, signedData{
		Version: 1, Digests: none, Content: content{oidData}, Signers: none,
		Certificates: asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: all},
	}}))
}

// namesOf returns the subject alternative names among extensions, in DER.
func namesOf(extensions []pkix.Extension) []byte {
	for _, e := range extensions {
		if e.Id.Equal(oidAlternativeNames) {
			return e.Value
		}
	}
	return nil
}
