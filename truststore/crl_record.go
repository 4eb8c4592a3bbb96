// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/hsmtls/hsmtls-go/internal/alias"
	"github.com/hsmtls/hsmtls-go/internal/p11"
)

// ErrPublic marks a record on the token that is not a private object: whoever can
// load the module may have written it, without a PIN, so it is not looked at. It
// is returned by [Store.Deny] if the token does not grant private objects.
var ErrPublic = errors.New("record can be written without a PIN")

var errRecord = errors.New("record cannot be read")

// recordVersion is that of the records below.
const recordVersion = 1

// maxRecord bounds a record on the token, in bytes.
const maxRecord = 16 << 10

// A crlRecord says that an issuer's CRL is, or was, in the store. It is how a
// missing CRL is noticed after a restart, and how its number never goes back.
type crlRecord struct {
	Version  int    `json:"version"`
	Sequence uint64 `json:"sequence"` // of two records about one thing the higher is good
	Issuer   string `json:"issuer"`   // issuerID, hexadecimal
	Name     string `json:"name"`     // of the issuer, to be shown
	Number   string `json:"number"`   // of the CRL, hexadecimal
	Removed  bool   `json:"removed,omitempty"`
}

// A crlMark is a crlRecord, read.
type crlMark struct {
	id       issuerID
	sequence uint64
	name     string
	number   *big.Int
	removed  bool
	object   p11.Object
	lost     bool // not on the token any more
}

// A denyRecord says that a certificate is on the deny-list, or is not any more.
type denyRecord struct {
	Version     int       `json:"version"`
	Sequence    uint64    `json:"sequence"`
	Fingerprint string    `json:"sha256"`
	Signed      string    `json:"tbs_sha256,omitempty"` // of the part the issuer has signed
	Subject     string    `json:"subject,omitempty"`
	Reason      string    `json:"reason,omitempty"`
	At          time.Time `json:"at"`
	Allowed     bool      `json:"allowed,omitempty"`

	fingerprint [sha256.Size]byte
	object      p11.Object
	lost        bool // not on the token any more
}

// unmarshal reads a record strictly: what is not understood is not obeyed.
func unmarshal(d p11.Data, record any) error {
	if !d.Private {
		return ErrPublic
	}
	if len(d.Value) > maxRecord {
		return errRecord
	}
	dec := json.NewDecoder(bytes.NewReader(d.Value))
	dec.DisallowUnknownFields()
	if err := dec.Decode(record); err != nil {
		return fmt.Errorf("%w: %w", errRecord, err)
	}
	if dec.More() {
		return errRecord
	}
	return nil
}

func readMark(d p11.Data) (crlMark, error) {
	var r crlRecord
	if err := unmarshal(d, &r); err != nil {
		return crlMark{}, err
	}
	id, err := hex.DecodeString(r.Issuer)
	number, ok := new(big.Int).SetString(r.Number, 16)
	if r.Version != recordVersion || err != nil || len(id) != len(issuerID{}) || !ok || number.Sign() < 0 {
		return crlMark{}, errRecord
	}
	return crlMark{id: issuerID(id), sequence: r.Sequence, name: r.Name, number: number, removed: r.Removed, object: d.Object}, nil
}

func (m crlMark) template() (p11.DataTemplate, error) {
	value, err := json.Marshal(crlRecord{
		Version: recordVersion, Sequence: m.sequence, Issuer: hex.EncodeToString(m.id[:]),
		Name: m.name, Number: m.number.Text(16), Removed: m.removed,
	})
	return dataTemplate(alias.CRLMarkLabel(m.id[:]), value), err
}

// newer reports whether m takes the place of other. Of two that are equally new,
// the one that says a CRL is there is believed.
func (m crlMark) newer(other crlMark) bool {
	if m.sequence != other.sequence {
		return m.sequence > other.sequence
	}
	return !m.removed
}

func readDenial(d p11.Data) (denyRecord, error) {
	var r denyRecord
	if err := unmarshal(d, &r); err != nil {
		return denyRecord{}, err
	}
	sum, err := hex.DecodeString(r.Fingerprint)
	signed, err2 := hex.DecodeString(r.Signed)
	if r.Version != recordVersion || err != nil || err2 != nil || len(sum) != sha256.Size || len(signed)%sha256.Size != 0 || len(signed) > sha256.Size {
		return denyRecord{}, errRecord
	}
	r.fingerprint, r.object = [sha256.Size]byte(sum), d.Object
	return r, nil
}

func (r denyRecord) template() (p11.DataTemplate, error) {
	r.Version, r.Fingerprint = recordVersion, hex.EncodeToString(r.fingerprint[:])
	value, err := json.Marshal(r)
	return dataTemplate(alias.DenyLabel(r.fingerprint[:]), value), err
}

// newer is that of marks: of two that are equally new, the denial is believed.
func (r denyRecord) newer(other denyRecord) bool {
	if r.Sequence != other.Sequence {
		return r.Sequence > other.Sequence
	}
	return !r.Allowed
}

func dataTemplate(label string, value []byte) p11.DataTemplate {
	return p11.DataTemplate{Label: label, Application: alias.Application, Value: value, Private: true}
}

// A dataWriter writes data objects and remembers them, to take them back.
type dataWriter struct {
	device  device
	written []p11.Object
}

// ensure writes an object unless there is a private one already, and looks whether
// the token has kept it: a token on a full disk has been seen to report success.
// What it returns need not be private.
func (w *dataWriter) ensure(ctx context.Context, t p11.DataTemplate) (p11.Data, error) {
	if d, err := w.find(ctx, t, func(d p11.Data) bool { return d.Private }); err != nil || d != nil {
		return deref(d), err
	}
	made, err := w.create(ctx, t)
	if err != nil {
		return p11.Data{}, err
	}
	d, err := w.find(ctx, t, func(d p11.Data) bool { return d.Private == made.Private })
	if err == nil && d == nil {
		err = ErrNotStored
	}
	return deref(d), err
}

// create writes an object, to the end also if ctx ends meanwhile.
func (w *dataWriter) create(ctx context.Context, t p11.DataTemplate) (p11.Data, error) {
	if err := ctx.Err(); err != nil {
		return p11.Data{}, err
	}
	longer, cancel := p11.Outlasting(ctx, undoTime)
	defer cancel()
	made, err := w.device.CreateData(longer, t)
	if err == nil {
		w.written = append(w.written, made.Object)
	}
	return made, err
}

// find returns an object like t that pleases, or nil.
func (w *dataWriter) find(ctx context.Context, t p11.DataTemplate, pleases func(p11.Data) bool) (*p11.Data, error) {
	objects, err := w.device.Data(ctx, p11.DataFilter{Label: t.Label, Application: t.Application})
	for _, d := range objects {
		if d.Label == t.Label && bytes.Equal(d.Value, t.Value) && pleases(d) {
			return &d, err
		}
	}
	return nil, err
}

func deref(d *p11.Data) p11.Data {
	if d == nil {
		return p11.Data{}
	}
	return *d
}

// undo removes what has been written, as far as the token lets it. It is tried
// even if the context that was cancelled is the reason for it.
func (w *dataWriter) undo(ctx context.Context) {
	for _, o := range w.written {
		_ = w.device.Destroy(context.WithoutCancel(ctx), o) // the first error is the one to report
	}
}
