// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"bytes"
	"crypto/x509"
	"slices"

	"github.com/hsmtls/hsmtls-go/internal/alias"
	"github.com/hsmtls/hsmtls-go/internal/p11"
)

// An Entry is a certificate that is trusted: that of a server, of a client, or
// of an issuing CA. The certificates it points to are shared and must not be
// modified.
type Entry struct {
	Alias       string
	Certificate *x509.Certificate

	// Issuers prove the entry: the issuer of Certificate first, the anchor
	// last. Empty if the entry is an anchor itself.
	Issuers []*x509.Certificate

	// Endorsers vouch for an entry that was injected with [Store.InjectEndorsed]:
	// the certificate that has signed the endorsement first, the anchor last.
	// Issuers is empty then.
	Endorsers []*x509.Certificate

	// Usages are what the entry is good for, as it and its issuers allow:
	// serverAuth, clientAuth, or both.
	Usages []x509.ExtKeyUsage

	// Private says that the token shows and changes the object only after
	// login. Tokens that do not grant this let anybody delete the entry. It is about
	// the entry alone: an issuer or an endorsement that was there before as a public
	// object is used as it is, and whoever deletes it takes the proof away.
	Private bool
}

// A Rejected is a certificate object on the token that is not trusted. Err is or
// holds [ErrForeign], [ErrMarked], [ErrAmbiguous], a [*RejectedError], or what is
// wrong with the label or the encoding.
type Rejected struct {
	Label       string // as the token has it: anybody may have written it
	ID          []byte
	Certificate *x509.Certificate // nil if the object holds none
	Err         error
}

// template is the object an entry is kept as.
func (e Entry) template() p11.CertificateTemplate {
	category := p11.CategoryOther
	if e.Certificate.IsCA {
		category = p11.CategoryAuthority
	}
	return template(e.Alias, e.Certificate, category)
}

// keptIssuers are the issuers that are kept on the token beside the entry. The
// anchor is not among them: it is the caller's to give.
func (e Entry) keptIssuers() []*x509.Certificate { return e.Issuers[:max(0, len(e.Issuers)-1)] }

// between are the CAs that lie between the entry, or who endorsed it, and the anchor.
func (e Entry) between() []*x509.Certificate {
	if n := len(e.Endorsers); n > 0 {
		return e.Endorsers[1:max(1, n-1)]
	}
	return e.keptIssuers()
}

// issuerTemplates are the objects that keep the proof of an entry.
func (e Entry) issuerTemplates() (templates []p11.CertificateTemplate) {
	for _, c := range e.keptIssuers() {
		templates = append(templates, template(alias.TrustIssuerLabel(c.Raw), c, p11.CategoryAuthority))
	}
	return templates
}

func template(label string, c *x509.Certificate, category p11.Category) p11.CertificateTemplate {
	return p11.CertificateTemplate{
		Label:    label,
		ID:       alias.TrustID(c.Raw),
		Value:    c.Raw,
		Category: category,
		Private:  true,
	}
}

// is reports whether an object is what a template has asked for.
func is(o p11.Certificate, t p11.CertificateTemplate) bool {
	return o.Label == t.Label && bytes.Equal(o.ID, t.ID) && bytes.Equal(o.Value, t.Value)
}

// equal says what [Store.Generation] is about: the same certificate is trusted
// for the same usages under the same alias.
func (e Entry) equal(other Entry) bool {
	return e.Alias == other.Alias && e.Certificate.Equal(other.Certificate) &&
		slices.Equal(e.Usages, other.Usages)
}
