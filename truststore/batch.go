// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hsmtls/hsmtls-go/internal/alias"
	"github.com/hsmtls/hsmtls-go/internal/p11"
)

// A found is a certificate object, read and parsed.
type found struct {
	p11.Certificate
	cert   *x509.Certificate // nil if err is not
	err    error
	sum    fingerprint // of the value
	marked bool        // whether the id is that of this certificate in the trust store
}

// A fingerprint is the SHA-256 of a certificate.
type fingerprint [sha256.Size]byte

func parse(o p11.Certificate) found {
	f := found{Certificate: o, sum: sha256.Sum256(o.Value)}
	f.cert, f.err = x509.ParseCertificate(o.Value)
	f.marked = f.err == nil && bytes.Equal(o.ID, alias.TrustID(f.cert.Raw))
	return f
}

// A recollection is what a store remembers from one load to the next, so as not to
// do again what has the same result. The zero recollection remembers nothing.
type recollection struct {
	inventory *p11.Inventory
	objects   map[p11.Object]found
	since     time.Time // when objects were all read

	anchors *anchors
	issuers map[fingerprint]bool
	proofs  map[fingerprint]Entry // by these anchors and issuers
}

const (
	// completeTime is how long a store does without reading an object again whose
	// handle it knows.
	completeTime = time.Hour

	// surveyBatch is how many objects are read before the next lot: the one is
	// parsed while the other is read.
	surveyBatch = 512

	// surveyTries bounds how often a survey begins anew because the token was lost.
	surveyTries = 3
)

// A survey is the certificate objects of a token, read, and what else is there.
type survey struct {
	certificates []found
	inventory    *p11.Inventory // nil if the token was asked for certificates only
}

// survey returns what is on the token.
func (s *Store) survey(ctx context.Context) (now survey, err error) {
	once := s.surveyAnew
	if s.device.KeepsHandles() {
		once = s.surveyChanges
	}
	for range surveyTries {
		if now, err = once(ctx); !errors.Is(err, p11.ErrStale) {
			break
		}
	}
	return now, err
}

// surveyAnew reads every certificate.
func (s *Store) surveyAnew(ctx context.Context) (survey, error) {
	listed, err := s.device.CertificateObjects(ctx)
	if err != nil {
		return survey{}, err
	}
	all, err := s.read(ctx, listed)
	return survey{certificates: all}, err
}

// surveyChanges reads the certificates whose handles are new, and all of them now
// and then. One search tells what else is there: on SoftHSM a search costs as much
// for each object of the token, whatever is looked for.
func (s *Store) surveyChanges(ctx context.Context) (survey, error) {
	inventory, err := s.device.Inventory(ctx, s.known.inventory)
	if err != nil {
		return survey{}, err
	}
	complete := time.Since(s.known.since) > completeTime
	listed := inventory.Of(p11.ClassCertificate)
	all, unread := make([]found, 0, len(listed)), []p11.Object(nil)
	for _, o := range listed {
		if f, ok := s.known.objects[o]; ok && !complete {
			all = append(all, f)
		} else {
			unread = append(unread, o)
		}
	}
	read, err := s.read(ctx, unread)
	if err != nil {
		return survey{}, err
	}
	now := survey{append(all, read...), inventory}
	s.known.keep(now, complete)
	return now, nil
}

func (r *recollection) keep(now survey, complete bool) {
	if complete {
		r.since = time.Now()
	}
	all := now.certificates
	r.inventory = now.inventory
	r.objects = make(map[p11.Object]found, len(all))
	for _, f := range all {
		r.objects[f.Object] = f
	}
}

// read reads objects and parses them meanwhile.
func (s *Store) read(ctx context.Context, objects []p11.Object) ([]found, error) {
	var lots []*[]found
	var parsing sync.WaitGroup
	defer parsing.Wait()
	for batch := range slices.Chunk(objects, surveyBatch) {
		certs, err := s.device.ReadCertificates(ctx, batch)
		if err != nil {
			return nil, err
		}
		lot := new([]found)
		lots = append(lots, lot)
		parsing.Go(func() {
			for _, c := range certs {
				*lot = append(*lot, parse(c))
			}
		})
	}
	parsing.Wait()
	all := make([]found, 0, len(objects))
	for _, lot := range lots {
		all = append(all, *lot...)
	}
	return all, nil
}

// inParallel calls f for 0 to n-1, as many at once as there are processors.
func inParallel(n int, f func(i int)) {
	const stride = 32
	var next atomic.Int64
	var working sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), (n+stride-1)/stride) {
		working.Go(func() {
			for {
				to := int(next.Add(stride))
				for i := to - stride; i < min(to, n); i++ {
					f(i)
				}
				if to >= n {
					return
				}
			}
		})
	}
	working.Wait()
}
