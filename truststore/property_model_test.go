// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

// A part is a certificate that the property test plays with.
type part struct {
	name    string
	cert    *x509.Certificate
	by      string   // who issued it: "root", a CA, or a stranger
	issuers []string // up to the root, without it
	usage   x509.ExtKeyUsage
	foreign bool   // no anchor vouches for it
	cms     []byte // an endorsement
}

// A cast is everybody who has a part.
type cast struct {
	root   *testpki.CA
	parts  map[string]*part
	leaves []string
	crls   map[string][]*x509.RevocationList // by issuer; the number is the index
	listed map[string][][]string             // what they revoke
}

func newCast(t *testing.T) *cast {
	t.Helper()
	root, public := testpki.NewRoot("root"), testpki.NewRoot("public root")
	alpha, gamma := root.NewIntermediate("alpha"), root.NewIntermediate("gamma")
	beta := gamma.NewIntermediate("beta")
	c := &cast{root: root, parts: map[string]*part{}, crls: map[string][]*x509.RevocationList{}, listed: map[string][][]string{}}
	add := func(name, by string, cert *x509.Certificate, usage x509.ExtKeyUsage, issuers ...string) *part {
		c.parts[name] = &part{name: name, cert: cert, by: by, usage: usage, issuers: issuers}
		if !cert.IsCA {
			c.leaves = append(c.leaves, name)
		}
		return c.parts[name]
	}
	add("alpha", "root", alpha.Certificate, serverAuth)
	add("gamma", "root", gamma.Certificate, serverAuth)
	add("beta", "gamma", beta.Certificate, serverAuth, "gamma")
	add("a1", "alpha", alpha.Server("a1.example.com").Leaf, serverAuth, "alpha")
	add("a2", "alpha", alpha.Server("a2.example.com").Leaf, serverAuth, "alpha")
	add("till", "alpha", alpha.Client("till").Leaf, clientAuth, "alpha")
	brief := testpki.ServerTemplate("brief.example.com")
	brief.NotAfter = time.Now().Add(2 * time.Hour)
	add("brief", "alpha", alpha.Issue(brief, alpha.Key.Public()), serverAuth, "alpha")
	add("b1", "beta", beta.Server("b1.example.com").Leaf, serverAuth, "beta", "gamma")
	add("direct", "root", root.Server("direct.example.com").Leaf, serverAuth)
	add("stranger", "public root", public.Server("stranger.example.com").Leaf, serverAuth).foreign = true
	notary := newNotary(root, same)
	add("notary", "root", notary.cert, serverAuth)
	c.leaves = c.leaves[:len(c.leaves)-1]
	endorsed := add("endorsed", "public root", public.Server("endorsed.example.com").Leaf, serverAuth)
	endorsed.foreign, endorsed.cms = true, notary.sign(t, endorsed.cert.Raw, plain)
	c.revoke(t, root, "root", nil, []string{"gamma"}, []string{"direct", "notary"}, []string{"alpha"}, nil)
	c.revoke(t, alpha, "alpha", []string{"a1"}, []string{"a1", "till"}, nil, []string{"a2"})
	return c
}

// revoke makes a series of CRLs.
func (c *cast) revoke(t *testing.T, ca *testpki.CA, name string, lists ...[]string) {
	t.Helper()
	for n, list := range lists {
		var certs []*x509.Certificate
		for _, r := range list {
			certs = append(certs, c.parts[r].cert)
		}
		c.crls[name] = append(c.crls[name], crlOf(t, ca, int64(n), certs...))
	}
	c.listed[name] = lists
}

func (c *cast) chain(name string) []*x509.Certificate {
	all := certs(c.parts[name].cert)
	for _, i := range c.parts[name].issuers {
		all = append(all, c.parts[i].cert)
	}
	return all
}

// The kinds of objects there are in the model.
const (
	kindEntry   = "entry"   // looks like one
	kindIssuer  = "issuer"  // looks like the issuer of one
	kindForeign = "foreign" // something else under some alias
)

// A thing is a certificate object on the token of the model.
type thing struct {
	kind, label, part string
	private           bool
}

// A model is what the stores should make of their token.
type model struct {
	*cast
	things   []thing
	endorsed map[string]bool // endorsements on the token
	noted    map[string]bool // who has ever been on the deny-list
	denied   map[string]bool
	crl      map[string]int // the number of each issuer's CRL
	clock    time.Time
}

func newModel(c *cast) *model {
	return &model{
		cast: c, endorsed: map[string]bool{}, noted: map[string]bool{}, denied: map[string]bool{},
		crl: map[string]int{}, clock: time.Now(),
	}
}

func (m *model) current(names ...string) bool {
	return !slices.ContainsFunc(names, func(n string) bool {
		c := m.parts[n].cert
		return m.clock.Before(c.NotBefore) || m.clock.After(c.NotAfter)
	})
}

func (m *model) has(f func(thing) bool) bool { return slices.ContainsFunc(m.things, f) }

// vouched reports whether somebody vouches for a part whose issuers are at hand.
func (m *model) vouched(name string, endorsed bool) bool {
	p := m.parts[name]
	if p.foreign {
		return endorsed && m.current(name, "notary")
	}
	return m.current(append([]string{name}, p.issuers...)...)
}

// proved reports whether what is on the token proves a part.
func (m *model) proved(name string) bool {
	for _, i := range m.parts[name].issuers {
		if !m.has(func(o thing) bool { return o.part == i && o.kind != kindForeign }) {
			return false
		}
	}
	return m.vouched(name, m.endorsed[name])
}

// revoked reports whether a part, or what proves it, is revoked.
func (m *model) revoked(name string) bool {
	path := append([]string{name}, m.parts[name].issuers...)
	if m.parts[name].cms != nil {
		path = append(path, "notary")
	}
	return slices.ContainsFunc(path, func(n string) bool {
		p := m.parts[n]
		number, ok := m.crl[p.by]
		return m.denied[n] || ok && slices.Contains(m.listed[p.by][number], n)
	})
}

// settled returns those that would be entries if nothing were revoked, alias and
// part, and what is rejected.
func (m *model) settled() (entries [][2]string, rejected []string) {
	private := map[[2]string]bool{} // what claims to be an entry and is proved
	for _, o := range m.things {
		switch {
		case o.kind == kindForeign:
			rejected = append(rejected, fmt.Sprint("foreign ", o.label, " ", o.part))
		case o.kind == kindEntry && !m.proved(o.part):
			rejected = append(rejected, fmt.Sprint("refused ", o.label, " ", o.part))
		case o.kind == kindEntry:
			private[[2]string{o.label, o.part}] = private[[2]string{o.label, o.part}] || o.private
		}
	}
	for e, mine := range private {
		rivals := 0
		for other, theirs := range private {
			if other != e && (other[0] == e[0] || other[1] == e[1]) && (theirs || !mine) {
				rivals++
			}
		}
		if rivals > 0 {
			rejected = append(rejected, fmt.Sprint("ambiguous ", e[0], " ", e[1]))
		} else {
			entries = append(entries, e)
		}
	}
	return entries, rejected
}

// sorted returns the entries, alias to part, and what is rejected.
func (m *model) sorted() (entries map[string]string, rejected []string) {
	settled, rejected := m.settled()
	entries = map[string]string{}
	for _, e := range settled {
		if m.revoked(e[1]) {
			rejected = append(rejected, fmt.Sprint("refused ", e[0], " ", e[1]))
		} else {
			entries[e[0]] = e[1]
		}
	}
	slices.Sort(rejected)
	return entries, rejected
}

// trusts returns the leaves that are accepted as peers.
func (m *model) trusts(entries map[string]string) (names []string) {
	trusted := slices.Collect(maps.Values(entries))
	for _, name := range m.leaves {
		below := slices.ContainsFunc(m.parts[name].issuers, func(i string) bool { return slices.Contains(trusted, i) })
		if slices.Contains(trusted, name) || below && m.vouched(name, false) && !m.revoked(name) {
			names = append(names, name)
		}
	}
	return names
}

// knows reports whether a CA can be found on the token to verify its CRL.
func (m *model) knows(ca string) bool {
	return m.has(func(o thing) bool {
		return o.part == ca && (o.kind == kindIssuer || o.kind == kindEntry && m.proved(ca))
	})
}

// errRefused stands for a [*RejectedError].
var errRefused = errors.New("refused")

// inject writes an entry and the issuers that are missing, or says why not.
func (m *model) inject(alias, name string, endorsed bool) error {
	if !m.vouched(name, endorsed) || m.revoked(name) {
		return errRefused
	}
	want := thing{kindEntry, alias, name, true}
	is := func(o thing) bool { return o.kind == kindEntry && o.label == alias && o.part == name }
	if m.has(func(o thing) bool {
		return !is(o) && (o.label == alias || o.kind == kindEntry && o.part == name)
	}) {
		return ErrExists
	}
	if endorsed {
		m.endorsed[name] = true
	}
	for _, i := range m.parts[name].issuers {
		if !m.has(func(o thing) bool { return o.kind == kindIssuer && o.part == i }) {
			m.things = append(m.things, thing{kindIssuer, "", i, true})
		}
	}
	if !m.has(is) {
		m.things = append(m.things, want)
	}
	return nil
}

// remove removes what has an alias, copies of it, and issuers that nobody needs.
func (m *model) remove(alias string) error {
	parts := map[string]bool{}
	for _, o := range m.things {
		if o.kind == kindEntry && o.label == alias {
			parts[o.part] = true
		}
	}
	if len(parts) == 0 {
		return ErrNotFound
	}
	m.keepRevokers(parts)
	m.things = slices.DeleteFunc(m.things, func(o thing) bool { return o.kind == kindEntry && parts[o.part] })
	for p := range parts {
		delete(m.endorsed, p)
	}
	m.sweep()
	return nil
}

// keepRevokers has those with a CRL stay as issuers.
func (m *model) keepRevokers(parts map[string]bool) {
	for by := range m.crl {
		there := m.has(func(o thing) bool { return o.kind == kindIssuer && o.part == by })
		if parts[by] && !there && m.knows(by) {
			m.things = append(m.things, thing{kindIssuer, "", by, true})
		}
	}
}

// sweep removes the issuers that no name leads to, and that no CRL is of.
func (m *model) sweep() {
	needed := map[string]bool{}
	for by := range m.crl {
		needed[by] = true
	}
	for _, o := range m.things {
		if o.kind != kindEntry {
			continue
		}
		for _, i := range m.parts[o.part].issuers {
			needed[i] = true
			if !m.has(func(o thing) bool { return o.kind == kindIssuer && o.part == i }) {
				break
			}
		}
	}
	m.things = slices.DeleteFunc(m.things, func(o thing) bool { return o.kind == kindIssuer && !needed[o.part] })
}
