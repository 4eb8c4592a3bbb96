// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package est

import (
	"context"
	"encoding/asn1"
	"errors"
	"fmt"
	"net/http"
)

// OIDChallengePassword among [Attributes] means that the server wants requests to
// be bound to the connection (RFC 7030 section 3.5), which this package does not
// do: the request is signed before there is a connection.
var OIDChallengePassword = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 7}

// Attributes are what a CA wants to see in requests (RFC 7030 section 4.5.2). The
// zero value is a CA without wishes.
type Attributes struct {
	// OIDs name what a request should have without saying what: key types,
	// signature algorithms, attributes.
	OIDs []asn1.ObjectIdentifier
	// Values are attributes with the values that they should have.
	Values []Attribute
}

// An Attribute is a wish with values, each in DER.
type Attribute struct {
	Type   asn1.ObjectIdentifier
	Values []asn1.RawValue `asn1:"set"`
}

// Wants reports whether the CA has mentioned an object identifier.
func (a Attributes) Wants(id asn1.ObjectIdentifier) bool {
	for _, o := range a.OIDs {
		if o.Equal(id) {
			return true
		}
	}
	for _, v := range a.Values {
		if v.Type.Equal(id) {
			return true
		}
	}
	return false
}

// CSRAttributes asks what the CA wants to see in requests. A server that answers
// with status 204 or 404 has no wishes. The requests of this module follow none
// by themselves.
func (c *Client) CSRAttributes(ctx context.Context) (Attributes, error) {
	a, err := c.get(ctx, "csrattrs")
	var status *StatusError
	if errors.As(err, &status) && (status.Code == http.StatusNoContent || status.Code == http.StatusNotFound) {
		return Attributes{}, nil
	}
	if err != nil {
		return Attributes{}, err
	}
	der, _, err := a.payload(typeCSRAttr)
	if err != nil {
		return Attributes{}, err
	}
	return parseAttributes(der)
}

// parseAttributes reads SEQUENCE OF CHOICE { oid, Attribute }.
func parseAttributes(der []byte) (wishes Attributes, err error) {
	if err := checkBER(der); err != nil {
		return Attributes{}, err
	}
	var elements []asn1.RawValue
	if rest, err := asn1.Unmarshal(der, &elements); err != nil || len(rest) > 0 {
		return Attributes{}, fmt.Errorf("%w: no sequence of attributes", ErrAnswer)
	}
	for _, e := range elements {
		var id asn1.ObjectIdentifier
		if e.Class == asn1.ClassUniversal && e.Tag == asn1.TagOID {
			if _, err := asn1.Unmarshal(e.FullBytes, &id); err != nil {
				return Attributes{}, fmt.Errorf("%w: %w", ErrAnswer, err)
			}
			wishes.OIDs = append(wishes.OIDs, id)
			continue
		}
		var attribute Attribute
		if _, err := asn1.Unmarshal(e.FullBytes, &attribute); err != nil {
			return Attributes{}, fmt.Errorf("%w: %w", ErrAnswer, err)
		}
		wishes.Values = append(wishes.Values, attribute)
	}
	return wishes, nil
}
