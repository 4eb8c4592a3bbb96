// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

// makeCRL makes the CRL of "pki crl".
func makeCRL(ts *testscript.TestScript, ca *testpki.CA, args []string) []byte {
	number, ok := new(big.Int).SetString(args[0], 10)
	if !ok {
		ts.Fatalf("%q is no number", args[0])
	}
	list := &x509.RevocationList{Number: number, ThisUpdate: time.Now().Add(-2 * time.Hour), NextUpdate: time.Now().Add(time.Hour)}
	for _, name := range args[1:] {
		if name == "expired" {
			list.NextUpdate = time.Now().Add(-time.Hour)
			continue
		}
		block, _ := pem.Decode([]byte(ts.ReadFile(name + ".pem")))
		cert, err := x509.ParseCertificate(block.Bytes)
		ts.Check(err)
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{
			SerialNumber: cert.SerialNumber, RevocationTime: time.Now().Add(-time.Hour), ReasonCode: 1,
		})
	}
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: ca.CRL(list).Raw})
}

// cmdID sets a variable to the id of the CRL whose issuer begins with a text, from
// the output of crl list --json.
func cmdID(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: id VARIABLE ISSUER")
	}
	var shown struct {
		CRLs []struct{ ID, Issuer string }
	}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &shown))
	for _, c := range shown.CRLs {
		if strings.HasPrefix(c.Issuer, args[1]) {
			ts.Setenv(args[0], c.ID)
			return
		}
	}
	ts.Fatalf("no CRL of %s", args[1])
}
