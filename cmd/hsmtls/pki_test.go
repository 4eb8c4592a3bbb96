// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"os"
	"path/filepath"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

type pkiKey struct{}

// A pki is the CAs of a script, by name.
type pki map[string]*testpki.CA

// cmdPKI makes certificates:
//
//	pki root NAME                    a root, NAME.pem
//	pki below CA NAME                an intermediate of it, NAME.pem
//	pki server CA FILE [NAME...]     FILE.pem with leaf and issuers, FILE.key
//	pki client CA FILE NAME          likewise
//	pki sign CA FILE [server]        the leaf for the client (server) that asks in FILE.csr, FILE.pem
//	pki authority CA FILE            the pairing CA that asks in FILE.csr, FILE.pem
//	pki bad CA FILE FAULT            a server certificate with a fault, FILE.pem
func cmdPKI(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: see cmdPKI")
	}
	cas := ts.Value(pkiKey{}).(pki)
	if args[0] == "root" {
		cas[args[1]] = testpki.NewRoot("Root of " + args[1])
		writeFile(ts, args[1]+".pem", testpki.PEM(cas[args[1]].Certificate))
		return
	}
	ca, file := cas[args[1]], args[2]
	if ca == nil {
		ts.Fatalf("no CA %q", args[1])
	}
	switch args[0] {
	case "below":
		cas[file] = ca.NewIntermediate("CA of " + file)
		writeFile(ts, file+".pem", testpki.PEM(cas[file].Certificate))
	case "server":
		writePair(ts, file, ca.Server(args[3:]...))
	case "client":
		writePair(ts, file, ca.Client(args[3]))
	case "sign":
		usage := x509.ExtKeyUsageClientAuth
		if len(args) > 3 {
			usage = x509.ExtKeyUsageServerAuth
		}
		writeFile(ts, file+".pem", testpki.PEM(ca.SignCSR(readCSR(ts, file+".csr"), usage)))
	case "authority":
		csr := readCSR(ts, file+".csr")
		writeFile(ts, file+".pem", testpki.PEM(ca.Issue(&x509.Certificate{
			Subject: csr.Subject, BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true,
			KeyUsage:    x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		}, csr.PublicKey)))
	case "bad":
		writeFile(ts, file+".pem", testpki.PEM(badServer(ts, ca, args[3])))
	default:
		ts.Fatalf("pki %s is unknown", args[0])
	}
}

func writeFile(ts *testscript.TestScript, name string, data []byte) {
	ts.Check(os.WriteFile(ts.MkAbs(filepath.FromSlash(name)), data, 0o600))
}

func writePair(ts *testscript.TestScript, file string, pair tls.Certificate) {
	var chain []byte
	for _, der := range pair.Certificate {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	writeFile(ts, file+".pem", chain)
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	ts.Check(err)
	writeFile(ts, file+".key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
}

func readCSR(ts *testscript.TestScript, file string) *x509.CertificateRequest {
	block, _ := pem.Decode([]byte(ts.ReadFile(file)))
	if block == nil {
		ts.Fatalf("%s is no PEM", file)
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	ts.Check(err)
	return csr
}

// badServer makes the certificate of a server with one fault.
func badServer(ts *testscript.TestScript, ca *testpki.CA, fault string) *x509.Certificate {
	template := testpki.ServerTemplate("host.example")
	public := ca.Server().PrivateKey.(crypto.Signer).Public()
	switch fault {
	case "expired":
		template.NotBefore, template.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	case "early":
		template.NotBefore, template.NotAfter = time.Now().Add(time.Hour), time.Now().Add(2*time.Hour)
	case "rsa1024":
		n, err := rand.Prime(rand.Reader, 1024) // nobody is going to use it
		ts.Check(err)
		public = &rsa.PublicKey{N: n, E: 65537}
	case "usage":
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}
	case "no-san":
		template.DNSNames = nil
	case "escape":
		template.Subject = pkix.Name{CommonName: "host\x1b[31m\u009b", Organization: []string{"a\nb"}}
	default:
		ts.Fatalf("no fault %q", fault)
	}
	return ca.Issue(template, public)
}
