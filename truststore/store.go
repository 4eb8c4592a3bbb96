// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

// Package truststore holds the certificates a terminal or a gateway trusts, on a
// PKCS#11 token.
//
// There are two kinds of trust. Anchors, the roots of the acquirer and of the
// vendor, are given by the caller. They decide what may be put into the store and
// make nobody trusted. Entries are in the store: the certificate of a server, of
// a client, or of an issuing CA. A peer is trusted if an anchor vouches for it and
// its certificate is an entry or was issued by one.
//
// # The profile
//
// Certificates have to keep to rules that are stricter than those of crypto/x509,
// because the owners of such a store issue their own certificates and can afford
// it. They hold for what is injected, for what is found on the token, and for
// what a peer sends; [RuleError] names the one that was broken.
//
//   - All: version 3, a positive serial number of at most 20 bytes, an issuer,
//     dates as RFC 5280 encodes them, RSA of 2048 to 8192 bits or P-256, P-384,
//     P-521, signatures with SHA-256 or longer, an authority key identifier that
//     has the key id alone, extensions critical where RFC 5280 says so and not
//     where it says not.
//   - Issuers: critical basic constraints with cA, keyCertSign, a subject, a
//     subject key identifier, name constraints that are critical, 64 at most, and
//     of a form that cannot be misread.
//   - Roots: a signature of their own that verifies, and no extended key usage.
//   - Peers: no CA and none of its usages, digitalSignature if there is a key
//     usage, serverAuth or clientAuth and no other purpose, 1 to 64 subject
//     alternative names of host-name form, no wildcard under a public suffix, no
//     email address in the subject, no common name that looks like a host and is
//     not among the names.
//
// # On the token
//
// An entry is a certificate object with the alias as CKA_LABEL and with the
// CKA_ID "hsmtls-trust-1:" followed by the SHA-256 of the certificate. The
// issuers that lie between it and its anchor are kept beside it with the label
// "issuer of trust" and sixteen digits. All are private objects where the token
// grants that. Everything is verified again whenever it is read, because on many
// tokens anybody can write and delete public objects: being there proves nothing,
// and not being there proves no decision. For the same reason an issuer that is
// kept is used to build chains and trusted for nothing.
//
// One Store does one write at a time. A process that dies while it writes leaves
// the old entries or the new ones, and at most issuers that prove nothing: see
// [Store.Leftovers]. Several processes may write at the same time, and look again
// after they have written: of two that inject under one alias at most one
// succeeds, unless it is the same certificate; an issuer that is removed while
// another process comes to need it is written again, or that Inject fails.
package truststore

import (
	"context"
	"crypto/x509"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/internal/p11"
)

// Config is what a store needs beside its token.
type Config struct {
	// Anchors are required, unless there are some on the token.
	Anchors Anchors

	// TokenAnchors also uses the anchors that the security officer has written
	// to the token (see [AddAnchor]). False means that those are no anchors.
	TokenAnchors bool

	// ExpectAnchors are the SHA-256 of anchors that have to be on the token. One
	// that is not there is an alarm: see [Store.MissingAnchors].
	ExpectAnchors [][32]byte

	// CRLs says what is expected of the CRLs of issuers. The zero CRLPolicy uses
	// what CRLs there are, and warns of those past their nextUpdate.
	CRLs CRLPolicy

	// Now is the clock by which entries are judged when they are injected and
	// loaded. Nil means [time.Now].
	Now func() time.Time

	// ExpiryWarning is how long before the end of entries, anchors and CRLs Logger
	// hears of it, once a day, when the store is loaded: see [Store.LogExpiring].
	// Zero means 30 days, negative means never.
	ExpiryWarning time.Duration

	// Logger hears of every object that is not trusted, of CRLs that are out of
	// date or missing, and of what ends soon. Nil means nobody does.
	Logger *slog.Logger
}

// A Store is the trusted entries on one token. It is safe for concurrent use.
// Readers work on a snapshot and never reach the token; Inject, Remove and
// Refresh do, one at a time, and publish a new snapshot. There is nothing to
// close. The zero Store trusts nobody.
type Store struct {
	device  device
	given   Config   // as opened with
	anchors *anchors // of given
	now     func() time.Time
	log     *slog.Logger
	policy  CRLPolicy
	writing sync.Mutex
	known   recollection // guarded by writing
	current atomic.Pointer[snapshot]

	watching watchers
	looked   atomic.Int64 // when it was last seen what ends soon, in Unix nanoseconds
}

// A device is the part of [p11.Token] a store uses.
type device interface {
	Certificates(context.Context, p11.Filter) ([]p11.Certificate, error)
	CertificateObjects(context.Context) ([]p11.Object, error)
	ReadCertificates(context.Context, []p11.Object) ([]p11.Certificate, error)
	Inventory(context.Context, *p11.Inventory) (*p11.Inventory, error)
	ReadData(context.Context, []p11.Object) ([]p11.Data, error)
	KeyIDs(context.Context, []p11.Object) ([][]byte, error)
	KeepsHandles() bool
	CreateCertificate(context.Context, p11.CertificateTemplate) (p11.Certificate, error)
	Destroy(context.Context, ...p11.Object) error
	Keys(context.Context, p11.Filter) ([]p11.Key, error)
	Data(context.Context, p11.DataFilter) ([]p11.Data, error)
	CreateData(context.Context, p11.DataTemplate) (p11.Data, error)
}

// Open reads the store of a token and verifies everything in it, as
// [Store.Refresh] does. [ErrNoAnchors] means that there are no anchors; a
// [*RejectedError] is about an anchor that breaks the profile itself, whatever
// its dates. What is wrong on the token is no error: see [Store.Rejected].
func Open(ctx context.Context, tok *hsm.Token, cfg Config) (*Store, error) {
	if tok == nil {
		return nil, &Error{Op: "open", Err: hsm.ErrClosed}
	}
	return open(ctx, tok.Device(), cfg)
}

func open(ctx context.Context, d device, cfg Config) (_ *Store, err error) {
	defer wrap(&err, "open", "")
	anchors, err := cfg.anchors()
	if err != nil {
		return nil, err
	}
	if cfg.CRLs < UseStaleCRL || cfg.CRLs > RequireCRL {
		return nil, errCRLPolicy
	}
	s := &Store{device: d, given: cfg, anchors: anchors, now: cfg.Now, log: cfg.Logger, policy: cfg.CRLs}
	if s.now == nil {
		s.now = time.Now
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if err := s.refresh(ctx); err != nil {
		return nil, err
	}
	if len(s.snapshot().anchors.all) == 0 {
		return nil, ErrNoAnchors
	}
	return s, nil
}

// Refresh reads the token again and verifies everything on it. Do so after
// another process has changed the store, and after the clock has been set: an
// entry that was not valid when it was read becomes so only now. On an error the
// store stays as it was.
//
// What has been done before is not done again: on a token that never reuses the
// handle of an object, everything is listed in one search, certificates that are
// known are not read, and once in an hour they are read all the same, because their
// labels and ids can be changed. A signature that has been verified stays verified; dates, usages,
// anchors and revocation are looked at anew.
func (s *Store) Refresh(ctx context.Context) (err error) {
	defer wrap(&err, "refresh", "")
	s.writing.Lock()
	defer s.writing.Unlock()
	return s.refresh(ctx)
}

func (s *Store) refresh(ctx context.Context) error {
	if s.device == nil {
		return p11.ErrClosed
	}
	now, err := s.survey(ctx)
	if err != nil {
		return err
	}
	return s.refreshWith(ctx, now)
}

// refreshWith is refresh for who has just surveyed the token.
func (s *Store) refreshWith(ctx context.Context, now survey) error {
	next, err := s.assess(ctx, now)
	if err == nil {
		s.publish(next)
		s.warnOfEnds()
	}
	return err
}

// assess decides about what was found on the token, and does not publish it.
func (s *Store) assess(ctx context.Context, now survey) (*snapshot, error) {
	data, err := s.dataIn(ctx, now.inventory)
	if err != nil {
		return nil, err
	}
	next, err := s.load(ctx, now, data)
	if err != nil {
		return nil, err
	}
	next = s.judge(ctx, next, data)
	for _, r := range next.rejected {
		s.log.WarnContext(ctx, "certificate on the token is not trusted", "label", r.Label, "reason", r.Err)
	}
	return next, nil
}

// publish makes next what readers see. The caller holds the lock.
func (s *Store) publish(next *snapshot) {
	last := s.snapshot()
	next.generation = last.generation
	if last.generation == 0 || !next.sameTrust(last) {
		next.generation++
	}
	s.current.Store(next)
	if next.generation != last.generation {
		s.watching.tell()
	}
}

// nothing is what a store holds that has not been opened.
var nothing = newSnapshot(&anchors{pool: x509.NewCertPool()}, nil, nil, nil)

func (s *Store) snapshot() *snapshot {
	if current := s.current.Load(); current != nil {
		return current
	}
	return nothing
}

// Entries returns the trusted entries, sorted by alias. It does not reach the
// token.
func (s *Store) Entries() []Entry { return slices.Clone(s.snapshot().entries) }

// Rejected returns the certificates on the token that are not trusted, and the
// CRLs and records of the deny-list that are not good, with the reasons.
// Certificates of keys on the token are not among them. It does not reach the
// token.
func (s *Store) Rejected() []Rejected { return slices.Clone(s.snapshot().rejected) }

// Pool returns the certificates of all entries as a pool of the caller's own,
// for code that cannot call [Store.Verify]. Such code checks less: neither the
// profile nor what stands above the entries. It does not reach the token.
func (s *Store) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	for _, e := range s.snapshot().entries {
		pool.AddCert(e.Certificate)
	}
	return pool
}

// Generation is a number that changes whenever the store begins to trust, or
// stops trusting, something. It does not reach the token.
func (s *Store) Generation() uint64 { return s.snapshot().generation }
