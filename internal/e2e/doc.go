// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

// Package e2e holds the end-to-end tests of the library on a real token: hsm,
// keystore, truststore and hsmtls together, from the key pair and its
// certificate request to connections, with every call that reaches the PKCS#11
// module counted. It has no code of its own.
package e2e
