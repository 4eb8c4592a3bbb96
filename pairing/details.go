// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package pairing

import (
	"cmp"
	"context"
	"crypto/x509"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/hsmtls/hsmtls-go/hsmtls"
)

// Details is what the operator reads to the person at the POS.
type Details struct {
	// Addresses are where the POS can reach the terminal, as "host:port", one for
	// each address of the machine's networks. Empty while nothing is served.
	Addresses []string
	// Name is the device name in the terminal's certificate.
	Name string
	// Fingerprint is that of the root of the terminal's certificate, as of
	// [Fingerprint]; empty if the terminal has no Root.
	Fingerprint string
}

// HTTPS and WSS return an address as URL.
func (Details) HTTPS(address string) string { return "https://" + address }

// WSS returns an address as the URL of a WebSocket.
func (Details) WSS(address string) string { return "wss://" + address }

// Link is what the QR code of an address says: its URL, with the name and the
// fingerprint in the fragment, which is never sent. [ParseLink] reads it.
func (d Details) Link(address string) string {
	q := url.Values{}
	if d.Fingerprint != "" {
		q.Set("root", d.Fingerprint)
	}
	if d.Name != "" {
		q.Set("name", d.Name)
	}
	u := url.URL{Scheme: "https", Host: address, Path: "/"}
	return u.String() + "#" + strings.ReplaceAll(q.Encode(), "%3A", ":")
}

// details is what is being served. It is safe for concurrent use.
type details struct {
	mu    sync.Mutex
	addrs []net.Addr
	name  string
}

func (d *details) add(addr net.Addr) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.addrs = append(d.addrs, addr)
}

// rename takes the name from the certificate that is presented by now.
func (d *details) rename(ctx context.Context, t *Terminal, p *hsmtls.Provider) error {
	cert, err := p.Keys.Certificate(ctx, t.Alias)
	if err != nil {
		return err
	}
	leaf := cert.Leaf
	if leaf == nil && len(cert.Certificate) > 0 {
		if leaf, err = x509.ParseCertificate(cert.Certificate[0]); err != nil {
			return err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if leaf != nil && len(leaf.DNSNames) > 0 {
		d.name = leaf.DNSNames[0]
	}
	return nil
}

func (d *details) unset(addr net.Addr) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.addrs = slices.DeleteFunc(d.addrs, func(a net.Addr) bool { return a == addr })
}

// Details returns where and as whom the terminal is being served. The addresses
// of the machine's networks are looked up each time.
func (t *Terminal) Details() Details {
	d := &t.state().serving
	d.mu.Lock()
	defer d.mu.Unlock()
	var all Details
	for _, addr := range d.addrs {
		all.Addresses = append(all.Addresses, reachable(addr)...)
	}
	all.Name = d.name
	if t.Root != nil {
		all.Fingerprint = Fingerprint(t.Root)
	}
	return all
}

// reachable returns the addresses that lead to a listener: its own, or, if it
// listens everywhere, those of the networks of this machine.
func reachable(addr net.Addr) []string {
	listening, err := netip.ParseAddrPort(addr.String())
	if err != nil {
		return []string{addr.String()}
	}
	if !listening.Addr().IsUnspecified() {
		return []string{addr.String()}
	}
	interfaces, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	onlyIPv4 := listening.Addr().Is4()
	var found []netip.Addr
	for _, i := range interfaces {
		prefix, err := netip.ParsePrefix(i.String())
		if err != nil {
			continue
		}
		if ip := prefix.Addr().Unmap(); isLAN(ip) && (ip.Is4() || !onlyIPv4) {
			found = append(found, ip)
		}
	}
	slices.SortFunc(found, func(a, b netip.Addr) int {
		return cmp.Or(cmp.Compare(a.BitLen(), b.BitLen()), a.Compare(b)) // IPv4 first
	})
	var out []string
	for _, ip := range found {
		out = append(out, netip.AddrPortFrom(ip, listening.Port()).String())
	}
	return out
}

// isLAN leaves out what no other machine can use, or only with a zone.
func isLAN(ip netip.Addr) bool {
	return !ip.IsLoopback() && !ip.IsLinkLocalUnicast() && !ip.IsMulticast() && !ip.IsUnspecified()
}
