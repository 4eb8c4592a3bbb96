// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package p11

// An OfficerRequest is a token on which the security officer has work to do.
type OfficerRequest struct {
	Module string
	Host   string // as in [Config]
	Select Selector
	SOPIN  []byte
}

// An Officer is a token logged in as its security officer, who alone can write
// certificates with CKA_TRUSTED set (PKCS#11 v2.40 section 4.6.3). It is used by
// one goroutine, and only until the function it was given to returns; its
// objects are good for it alone.
type Officer interface {
	// Certificates returns the X.509 certificate objects with CKA_TRUSTED set.
	Certificates() ([]Certificate, error)

	// Create writes a public certificate with CKA_TRUSTED set and returns it as
	// the token stored it.
	Create(CertificateTemplate) (Certificate, error)

	// Destroy removes an object.
	Destroy(Object) error
}
