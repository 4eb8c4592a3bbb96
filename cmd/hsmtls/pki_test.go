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
	"encoding/asn1"
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
//	pki renew CA FILE OUT [server]   like sign, for two years, OUT.pem
//	pki lasting CA FILE TIME         like sign, until TIME from now, which may be negative
//	pki authority CA FILE            the pairing CA that asks in FILE.csr, FILE.pem
//	pki crl CA FILE NUMBER [NAME]    FILE.pem with a CRL that revokes NAME.pem; NAME
//	                                 expired is for a CRL past its next update
//	pki notary CA FILE               who may endorse certificates of others, FILE.pem and FILE.key
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
	case "renew":
		csr := readCSR(ts, file+".csr")
		template := testpki.ClientTemplate("x")
		template.Subject, template.DNSNames, template.NotAfter = csr.Subject, csr.DNSNames, time.Now().Add(2*365*24*time.Hour)
		if len(args) > 4 {
			template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
		}
		writeFile(ts, args[3]+".pem", testpki.PEM(ca.Issue(template, csr.PublicKey)))
	case "lasting":
		lasts, err := time.ParseDuration(args[3])
		ts.Check(err)
		csr := readCSR(ts, file+".csr")
		template := testpki.ClientTemplate(csr.Subject.CommonName)
		template.NotBefore, template.NotAfter = time.Now().Add(min(lasts, 0)-3*time.Hour), time.Now().Add(lasts)
		writeFile(ts, file+".pem", testpki.PEM(ca.Issue(template, csr.PublicKey)))
	case "authority":
		csr := readCSR(ts, file+".csr")
		writeFile(ts, file+".pem", testpki.PEM(ca.Issue(&x509.Certificate{
			Subject: csr.Subject, BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true,
			KeyUsage:    x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		}, csr.PublicKey)))
	case "crl":
		writeFile(ts, file+".pem", makeCRL(ts, ca, args[3:]))
	case "notary":
		writeNotary(ts, ca, file)
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

// writeNotary makes a certificate for document signing (RFC 9336).
func writeNotary(ts *testscript.TestScript, ca *testpki.CA, file string) {
	template := testpki.ClientTemplate("notary.example")
	template.DNSNames, template.ExtKeyUsage = nil, nil
	template.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 36}}
	pair := ca.Client("notary.example") // for its key
	leaf := ca.Issue(template, pair.Leaf.PublicKey)
	pair.Certificate, pair.Leaf = [][]byte{leaf.Raw}, leaf
	writePair(ts, file, pair)
}
