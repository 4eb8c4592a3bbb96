// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

// Package p11 is the only package of this module that talks to a PKCS#11
// library. It keeps miekg/pkcs11 behind the small interface [Token]; none of
// its types, errors or handles leave it.
//
// A loaded library is a process-wide thing: it is initialised once, logged in
// once per token, and finalised under nobody. So there is one module object
// for each library file and one core for each token in the process, shared by
// everybody who opens it (module.go). What a token session pool knows
// (sessions, login, object handles) lives in a generation (generation.go),
// which is thrown away as a whole when the token loses it.
package p11

import (
	"context"
	"crypto"
	"crypto/x509"
	"log/slog"
	"time"
)

// A Token is an open, logged-in token. It is safe for concurrent use. Every
// method returns [ErrClosed] after Close, and a [*Error] for what the module
// answered. A context is looked at before the module is entered; a call inside
// a module cannot be cancelled.
type Token interface {
	// Info asks the token for its current description.
	Info(ctx context.Context) (TokenInfo, error)

	// Mechanisms says what the token can do, as it said when it was opened.
	// It does not reach the token.
	Mechanisms() Mechanisms

	// Random returns n bytes from the token's generator.
	Random(ctx context.Context, n int) ([]byte, error)

	// SetPIN changes the user PIN.
	SetPIN(ctx context.Context, oldPIN, newPIN []byte) error

	// Certificates returns the X.509 certificate objects that match f, in no
	// particular order. An empty result is not an error.
	Certificates(ctx context.Context, f Filter) ([]Certificate, error)

	// CertificateObjects lists the X.509 certificate objects without reading
	// them, in no particular order.
	CertificateObjects(ctx context.Context) ([]Object, error)

	// ReadCertificates reads certificate objects, one module call for each, in
	// several sessions at once where a call takes long. Objects that are gone
	// are left out. [ErrStale] means that the token has lost its handles since
	// they were listed.
	ReadCertificates(ctx context.Context, objects []Object) ([]Certificate, error)

	// Inventory lists all objects of the token with their classes, in one search if
	// nothing is new since last, in four at most; the handles of last have to be good
	// still, see KeepsHandles. A nil last knows nothing.
	Inventory(ctx context.Context, last *Inventory) (*Inventory, error)

	// ReadData reads data objects, as ReadCertificates does certificates.
	ReadData(ctx context.Context, objects []Object) ([]Data, error)

	// KeyIDs reads the CKA_IDs of private keys, as ReadCertificates does certificates.
	KeyIDs(ctx context.Context, objects []Object) ([][]byte, error)

	// KeepsHandles reports whether the token never gives the handle of an object
	// that was removed to another one, so that what was read of a listed object
	// need not be read again. Others reuse them. It does not reach the token.
	KeepsHandles() bool

	// CreateCertificate writes one certificate object and returns it as the
	// token stored it: a wish the token does not grant (Private) reads false.
	CreateCertificate(ctx context.Context, t CertificateTemplate) (Certificate, error)

	// Data returns the data objects that match f, in no particular order. An
	// empty result is not an error.
	Data(ctx context.Context, f DataFilter) ([]Data, error)

	// CreateData writes one data object and returns it as the token stored it:
	// a wish the token does not grant (Private) reads false.
	CreateData(ctx context.Context, t DataTemplate) (Data, error)

	// Keys returns the private keys that match f, each with the public half
	// found under the same CKA_ID. An empty result is not an error.
	Keys(ctx context.Context, f Filter) ([]Key, error)

	// PrivateKeys is Keys without the public halves, which are a search and a call
	// for each key.
	PrivateKeys(ctx context.Context, f Filter) ([]Key, error)

	// PublicKeys returns the public key objects that match f, whether the token
	// has the private half or not. An empty result is not an error.
	PublicKeys(ctx context.Context, f Filter) ([]PublicKey, error)

	// GenerateKey makes a key pair inside the token with the sign-only
	// template and returns it as the token describes it.
	GenerateKey(ctx context.Context, t KeyTemplate) (Key, error)

	// ImportKey writes a private key that existed outside the token.
	ImportKey(ctx context.Context, t KeyTemplate, key crypto.PrivateKey) (Key, error)

	// Destroy removes objects. It stops at the first that cannot be removed.
	Destroy(ctx context.Context, objects ...Object) error

	// Signer returns a signer for the private key whose CKA_ID is id and
	// whose public half is public. It looks the key up on the token. That the
	// two belong together is proved with the first signature, and again with
	// the first one after each outage: it is verified before it is given out,
	// and is [ErrKeyMismatch] if it does not fit.
	Signer(ctx context.Context, id []byte, public crypto.PublicKey) (*Signer, error)

	// Status says how the token is. It does not reach the token.
	Status() Status

	// Watch has f called after every change of state, and when a call hangs or
	// returns, until stop is called. f must return soon.
	Watch(f func(Status)) (stop func())

	// Check proves that the token works by making a signature with the key
	// that was last used. All who ask within interval get one result.
	Check(ctx context.Context, interval time.Duration) error

	// Reopen starts again after the state [Failed]. In other states it waits
	// for the token to be ready.
	Reopen(ctx context.Context) error

	// Close gives the token back. The last Close on a token logs out; the
	// last on a module finalises it. Closing twice is harmless.
	Close() error
}

// HostArgument is the one argument a module host is started with.
const HostArgument = "module-host"

// Config says which token to open. Module and one field of Select are required.
type Config struct {
	// Module is the path of the PKCS#11 library.
	Module string

	// Host is the program that runs the library in a process of its own: one
	// that calls [ServeModule] when [HostArgument] is its only argument. Empty
	// means that the library is loaded into this process.
	Host string

	// Select names the token.
	Select Selector

	// PIN returns the user PIN. It is called once for every login, after an
	// outage too, and only when the token wants one. Nil means there is no PIN, which is an error for a
	// token that requires login. The slice is overwritten after use.
	PIN func(context.Context) ([]byte, error)

	// Sessions is how many calls may be inside the token at the same time.
	// Zero means eight, or as many as there are processors if there are more;
	// of these, as many may be signatures as the token is found to make at once
	// (admission.go).
	Sessions int

	// Queue is how many calls may wait for a session; more are turned away
	// with [ErrBusy]. Zero means 4096.
	Queue int

	// Hold is how long a call waits for a token that lost its sessions. Zero
	// means 5 s; negative means not at all.
	Hold time.Duration

	// Timeout bounds one signature, the wait for a session and Hold included.
	// Zero means 10 s.
	Timeout time.Duration

	// Logger receives warnings. Nil means they are discarded.
	Logger *slog.Logger
}

// A Selector names a token by one of its properties; several must all agree.
// The zero Selector fits every token, and is good if there is exactly one.
type Selector struct {
	Label  string
	Serial string
	Slot   *uint
}

// TokenInfo describes a token (PKCS#11 v2.40 section 3.2, CK_TOKEN_INFO).
type TokenInfo struct {
	Module       string // path of the library
	Library      string // what the library says of itself: description and version; empty unless it was asked
	Slot         uint   // may change when the module is initialised again
	Label        string
	Manufacturer string
	Model        string
	Serial       string
	Hardware     string // version, "major.minor"
	Firmware     string // version, "major.minor"
	FreePublic   int64  // bytes; -1 if the token does not say
	FreePrivate  int64  // bytes; -1 if the token does not say
	MinPIN       int    // shortest PIN, in bytes
	MaxPIN       int    // longest PIN, in bytes
	MaxSessions  int    // read/write sessions; 0 means no stated limit
	Flags        TokenFlags
	Mechanisms   Mechanisms // nil unless the token was asked for them
}

// TokenFlags are the CKF_ flags of CK_TOKEN_INFO that matter here.
type TokenFlags struct {
	Initialized     bool
	LoginRequired   bool
	UserPINSet      bool
	ProtectedPath   bool // the PIN is typed on the token itself
	WriteProtected  bool
	HasRandom       bool
	UserPINCountLow bool
	UserPINFinalTry bool
	UserPINLocked   bool
	UserPINChange   bool // the PIN must be changed before use
	SOPINCountLow   bool
	SOPINFinalTry   bool
	SOPINLocked     bool
}

// An Object is a reference to an object on the token. It is good for the
// generation that found it only; the zero Object refers to nothing.
type Object struct {
	generation uint64
	handle     uint
}

// A Filter selects objects. Empty fields match everything; fields that are set
// must all match exactly.
type Filter struct {
	Label   string
	ID      []byte
	Subject []byte // DER of the subject; certificates only
}

// A Category says whose certificate an object is (CKA_CERTIFICATE_CATEGORY,
// PKCS#11 v2.40 section 4.6.2).
type Category uint

// The categories of PKCS#11 v2.40 section 4.6.2. Tokens that do not know the
// attribute report CategoryUnspecified.
const (
	CategoryUnspecified Category = 0
	CategoryTokenUser   Category = 1
	CategoryAuthority   Category = 2
	CategoryOther       Category = 3
)

// A Certificate is an X.509 certificate object. Value is what the token holds,
// which may be no certificate at all.
type Certificate struct {
	Object
	Label    string
	ID       []byte
	Value    []byte
	Private  bool // readable only after login
	Trusted  bool // CKA_TRUSTED, which only the security officer can set
	Category Category
}

// A CertificateTemplate is a certificate object to write. Label and Value are
// required.
type CertificateTemplate struct {
	Label    string
	ID       []byte
	Value    []byte // DER
	Category Category
	Private  bool // wished for; given up where the token refuses it
}

// A Key is a private key object with what the token says of it.
type Key struct {
	Object
	Label  string
	ID     []byte
	Public crypto.PublicKey // nil if the token has no public half under ID, or one of a kind unknown here

	// Algorithm is what the private half says of itself; zero if it is of a kind
	// unknown here, or does not say.
	Algorithm x509.PublicKeyAlgorithm

	Attributes

	public []Object // the public key objects under ID
}

// Objects returns the private key and its public halves, for [Token.Destroy].
func (k Key) Objects() []Object { return append([]Object{k.Object}, k.public...) }

// A PublicKey is a public key object.
type PublicKey struct {
	Object
	Label string
	ID    []byte
}

// Attributes are the usage and protection attributes of a private key. An
// attribute the token does not know reads as the zero value.
type Attributes struct {
	Sensitive          bool
	AlwaysSensitive    bool
	Extractable        bool
	NeverExtractable   bool
	Local              bool // generated on the token
	Private            bool
	Sign               bool
	Decrypt            bool
	Unwrap             bool
	Derive             bool
	SignRecover        bool
	AlwaysAuthenticate bool // wants the PIN again for every signature
}

// A KeyType is a kind of key pair. The zero KeyType is none.
type KeyType int

// The key types that can be generated.
const (
	RSA2048 KeyType = iota + 1
	RSA3072
	RSA4096
	P256
	P384
)

// A KeyTemplate is a key pair to make. All fields are required; Type is not
// looked at by [Token.ImportKey].
type KeyTemplate struct {
	Label string
	ID    []byte
	Type  KeyType
}
