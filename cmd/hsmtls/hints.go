// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"crypto/x509"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hsmtls/hsmtls-go/est"
	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/hsmtls"
	"github.com/hsmtls/hsmtls-go/keystore"
	"github.com/hsmtls/hsmtls-go/pairing"
	"github.com/hsmtls/hsmtls-go/truststore"
)

// A hint says what mends an error. The first that fits is shown.
type hint struct {
	fits func(error) bool
	text string
}

var hints = []hint{
	{is(errNoModule), "--module FILE or HSMTLS_MODULE names the PKCS#11 library, such as /usr/lib/softhsm/libsofthsm2.so"},
	{is(errNoRoots), "--acquirer-root FILE or HSMTLS_ACQUIRER_ROOT names the root that signs servers; --vendor-root FILE the vendor's"},

	{is(hsm.ErrNoPIN), "--pin-file FILE or HSMTLS_PIN_FILE names a file with the user PIN, --so-pin-file FILE one with that of the security officer; without one it is asked for on a terminal"},
	{is(hsm.ErrPINFile), "chmod 600 the file: a PIN is for its owner only"},
	{is(hsm.ErrPINLocked), "hsmtls token unblock-pin sets a new user PIN with the SO PIN"},
	{is(hsm.ErrPINFinalTry), "one more wrong PIN locks the token: check the PIN, or set a new one with hsmtls token unblock-pin"},
	{isPINLength, "hsmtls token list --json shows how long a PIN may be: min_pin, max_pin"},
	{is(hsm.ErrPIN), "it was tried once; after some wrong tries a token locks, so check the file before the next"},
	{is(hsm.ErrAmbiguous), "HSMTLS_SERIAL, or serial= in --uri, tells tokens with one label apart; hsmtls token list shows the serials"},
	{is(hsm.ErrNotFound), "hsmtls token list shows the tokens, --token LABEL or HSMTLS_TOKEN names one, hsmtls token init makes one of a blank"},
	{is(hsm.ErrNotInitialized), "hsmtls token init makes it usable"},
	{is(hsm.ErrInitialized), "it can be used as it is; --wipe-token LABEL wipes the token that has this label, with all its keys and certificates"},
	{is(hsm.ErrBusy), "another program may use all sessions of the token: try again"},
	{is(hsm.ErrNoCgo), "build with CGO_ENABLED=1 and a C compiler"},

	{is(truststore.ErrPrivateKey), "keys are made inside the token and never leave it: give the file with the certificate"},
	{is(truststore.ErrRequest), "the request goes to the CA: give the certificate that came back"},
	{is(truststore.ErrSeveral), "give a file with the one certificate; --issuers FILE takes those between it and the root"},
	{is(truststore.ErrNoCertificate), "openssl x509 -in FILE -noout -subject shows whether it is one"},
	{is(truststore.ErrTrailing), "a file has one certificate in DER, or one and more in PEM, and nothing behind them"},
	{is(truststore.ErrMalformed), "each certificate stands between -----BEGIN CERTIFICATE----- and -----END CERTIFICATE-----"},

	{is(hsmtls.ErrNotMutual), "the server has to demand a client certificate, such as openssl s_server -Verify 1"},
	{is(hsmtls.ErrNoServerName), "--name NAME says whom the server has to prove to be"},
	{is(hsmtls.ErrHandshakeTimeout), "is it a TLS server? openssl s_client -connect ADDRESS shows what it says"},

	{is(keystore.ErrIssuer), "--issuer FILE admits another CA, if it is meant to have signed"},
	{is(keystore.ErrNotLater), "has the CA answered with an older certificate? --earlier admits it"},
	{is(keystore.ErrWider), "--subject, --dns, --ip, --uri-san and --usage say what may change"},
	{is(keystore.ErrExtractable), "hsmtls key generate makes a key that is confined to the token"},
	{is(keystore.ErrWeak), "RSA has 2048 bits at least, a curve is P-256, P-384 or P-521, and a signature has SHA-256 or better"},
	{is(keystore.ErrInUse), "hsmtls cert list shows its certificates, and hsmtls cert delete removes them"},
	{is(errMissingCA), "hsmtls pairing init makes a pairing CA; hsmtls cert list shows those that are there"},
	{is(keystore.ErrNotFound), "hsmtls key list and hsmtls cert list show what is there"},
	{is(keystore.ErrExists), "choose another alias, or delete what has this one; cert inject --replace gives an identity a new certificate"},
	{is(keystore.ErrMismatch), "hsmtls cert show and hsmtls key list show what belongs together; the CA has to sign the request of this very key"},
	{is(keystore.ErrChain), "a chain file has the certificate of the key first, then its issuer, then the issuer's issuer"},
	{is(keystore.ErrAmbiguous), "hsmtls cert list and hsmtls key list show which objects share a name; delete or rename all but one"},

	{is(truststore.ErrOwner), "the owner of the token has to sign the root: give it as --proof; the owner root itself is replaced by one it has signed, never removed"},
	{is(truststore.ErrAnchorUsage), "a root for certificates and CRLs only is needed: keyUsage = keyCertSign, cRLSign"},
	{is(truststore.ErrEndorsement), "openssl cms -verify shows what is wrong with it; it has to be over the certificate in DER, detached, with SHA-256"},
	{is(errRejected), "hsmtls trust remove ALIAS removes an entry; hsmtls trust inject puts a good one in its place"},
	{is(truststore.ErrNotFound), "hsmtls trust list shows the entries, hsmtls anchor list the roots on the token, hsmtls crl list the CRLs"},
	{is(truststore.ErrExists), "hsmtls trust list and hsmtls cert list show what has this alias or certificate"},
	{is(truststore.ErrCRLIssuer), "the CRL has to be signed by a root that is named, or by a CA that hsmtls trust list or trust show shows"},
	{is(truststore.ErrOlder), "hsmtls crl list shows the number of the CRL in the store: fetch a newer one"},
	{is(truststore.ErrPartial), "ask the CA for its complete CRL"},
	{is(truststore.ErrDelta), "ask the CA for its complete CRL"},
	{is(truststore.ErrIndirect), "ask the CA itself for its complete CRL"},
	{is(truststore.ErrStaleCRL), "hsmtls crl inject FILE takes the newer CRL of the issuer"},
	{is(truststore.ErrNoCRL), "hsmtls crl inject FILE takes the CRL of the issuer"},
	{is(errNoCRL), "openssl crl -in FILE -noout -issuer shows whether it is one"},
	{as[*truststore.RevokedError](), "hsmtls crl list shows who has revoked it; hsmtls trust unrevoke takes a certificate from the deny-list"},
	{is(truststore.ErrNoAnchors), "--acquirer-root FILE or HSMTLS_ACQUIRER_ROOT names the root that signs servers"},
	{is(truststore.ErrUntrusted), "a root's signature alone is not enough: hsmtls trust inject ALIAS CERT.pem makes the server or its CA an entry"},
	{is(truststore.ErrEmpty), "hsmtls trust inject ALIAS CERT.pem adds the first entry"},
	{is(truststore.ErrUnrelated), "--issuers FILE takes what stands between the certificate and the root, and nothing else"},
	{is(pairing.ErrCode), "a code is good once and for five minutes: have the terminal generate another"},
	{is(pairing.ErrBusy), "the terminal has too much to do: try again in a moment"},
	{is(pairing.ErrNotPaired, errNotLetIn), "was it revoked, or has its certificate expired? hsmtls pair, with a code that the terminal shows, pairs it again"},
	{is(pairing.ErrRoot), "hsmtls root export ALIAS at the terminal prints the root it is recognised by"},
	{is(pairing.ErrUnknown), "hsmtls pairing list shows the POS"},
	{is(pairing.ErrIssuer), "a pairing CA is for client authentication only, with path length 0; hsmtls pairing init asks for such a one"},
	{is(errNoAuthority), "hsmtls pairing init makes a pairing CA"},
	{is(errNoCA), "hsmtls pairing init makes a pairing CA; --acquirer-root FILE names the root of one that has been signed"},
	{is(errNoState), "--journal FILE says where it is to be, or none"},
	{is(errRootless), "--acquirer-root FILE or --vendor-root FILE names it"},

	{is(est.ErrIncomplete), "an EST server is named as https://HOST:PORT; --est-label chooses one of its CAs"},
	{is(errPasswordFile), "chmod 600 the file"},
	{is(errAuditFile), "it has to be a file of the service's own, mode 0600, in a folder that not everybody can write to"},
	{as[*est.PendingError](), "ask again later, or let --wait do it"},
	{isStatus(http.StatusUnauthorized, http.StatusForbidden), "the server does not know the terminal: --user and --password-file, or a certificate it has issued"},
	{as[*est.StatusError](), "the log of the server says why"},

	{as[x509.HostnameError](), "--name NAME says whom the server has to prove to be, if that is not the address"},
	{as[x509.UnknownAuthorityError](), "only what the acquirer or the vendor has signed is trusted; is it the root that --acquirer-root or --vendor-root names?"},
	{isCRLRule, "the CRL has to be issued anew"},
	{as[*truststore.RuleError](), "the certificate has to be issued anew"},
	{as[x509.CertificateInvalidError](), "the certificate has to be issued anew, or the clock is wrong"},

	{isRemoteAlert, "the other side ended the handshake: its log says why; does it know the issuer of this certificate, and TLS 1.2?"},
	{is(fs.ErrNotExist), "check the path"},
}

// hintFor returns the hint for an error that came after the command line was
// understood. Signals need none.
func hintFor(err error) string {
	for _, h := range hints {
		if h.fits(err) {
			return h.text
		}
	}
	return ""
}

// usageHint returns the hint for a command line that was not understood.
func usageHint(cmd *cobra.Command, err error) string {
	if h := hintFor(err); h != "" {
		return h
	}
	return cmd.CommandPath() + " --help shows how"
}

func is(targets ...error) func(error) bool {
	return func(err error) bool {
		return slices.ContainsFunc(targets, func(target error) bool { return errors.Is(err, target) })
	}
}

func as[T error]() func(error) bool {
	return func(err error) bool {
		var target T
		return errors.As(err, &target)
	}
}

// isPINLength finds a PIN that is too short or too long.
func isPINLength(err error) bool {
	var answer *hsm.Error
	return errors.As(err, &answer) && answer.Code == 0xa2 // CKR_PIN_LEN_RANGE
}

// isCRLRule finds a rule about CRLs, not about certificates.
func isCRLRule(err error) bool {
	var broken *truststore.RuleError
	return errors.As(err, &broken) && strings.HasPrefix(broken.Rule, "crl-")
}

// isStatus finds what an EST server answers.
func isStatus(codes ...int) func(error) bool {
	return func(err error) bool {
		var status *est.StatusError
		return errors.As(err, &status) && slices.Contains(codes, status.Code)
	}
}

// isRemoteAlert finds an alert of the peer, which crypto/tls reports as an
// operation by this name.
func isRemoteAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error" && !errors.Is(err, os.ErrDeadlineExceeded)
}
