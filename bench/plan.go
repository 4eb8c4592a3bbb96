// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build linux && cgo

package main

import (
	"slices"
	"time"
)

// A kind is what is measured of a contender.
type kind int

const (
	works  kind = iota // its operations
	serves             // those of the neutral client that it serves
	starts             // the process from its start to its first operation
)

// An experiment is a workload and who takes part. Its rounds interleave them.
type experiment struct {
	name, title string
	workload    string
	kind        kind
	world       string // number of trust entries on the token
	route       route
	delay       time.Duration // of each module call, with the route slow
	address     int           // which of the neutral servers a client dials
	workers     []int
	contenders  []string
	rounds      int
	duration    time.Duration // of a round; zero: one operation for each worker
	warm        time.Duration // not measured, before the rounds
	count       bool          // count module calls as well
	times       bool          // how long one operation takes matters, not how many there are
	mayFail     bool          // a contender whose every operation fails is a result
}

// These take part wherever they can.
var (
	everySigner = []string{us, "crypto11", "raw C", "OpenSSL engine", "GnuTLS", "Java"}
	everyClient = []string{us, "crypto11", "OpenSSL engine", "GnuTLS", "Java"}
	everyServer = []string{us, "crypto11", "GnuTLS", "Java", "nginx", "stunnel", "ghostunnel", "openssl s_server"}
)

// plan is what is measured, in this order.
func plan(o options) []experiment {
	var all []experiment
	for _, part := range [][]experiment{signatures(), handshakes(), startUps(), trusts(o.quick), storms(), slowTokens(), remoteTokens()} {
		all = append(all, part...)
	}
	var chosen []experiment
	for _, e := range all {
		if o.only != nil && !o.only.MatchString(e.name) {
			continue
		}
		if o.quick {
			e = e.shortened()
		}
		chosen = append(chosen, e)
	}
	return chosen
}

// shortened is the experiment for somebody in a hurry.
func (e experiment) shortened() experiment {
	e.rounds, e.duration, e.warm = min(e.rounds, 2), min(e.duration, 150*time.Millisecond), min(e.warm, 50*time.Millisecond)
	if e.kind == starts {
		e.rounds = 5
	}
	e.contenders = slices.DeleteFunc(slices.Clone(e.contenders), func(name string) bool { return contenders[name].world == "10000" })
	return e
}

func signatures() []experiment {
	var all []experiment
	for _, s := range []struct{ name, title string }{
		{"sign-pkcs1", "Signatures: RSA-2048, PKCS #1 v1.5, SHA-256"},
		{"sign-pss", "Signatures: RSA-2048, PSS, SHA-256"},
		{"sign-p256", "Signatures: P-256"},
	} {
		who := append(append([]string{}, everySigner...), "hsmtls, 2 sessions")
		if s.name != "sign-pss" { // which it does not do
			who = append(who, "openssl speed (software key)")
		}
		all = append(all, experiment{
			name: s.name, title: s.title, workload: s.name, world: "1", workers: []int{1, 2, 8, 64},
			contenders: who, rounds: 5, duration: 400 * time.Millisecond, warm: 200 * time.Millisecond, count: true,
		})
	}
	return all
}

func handshakes() []experiment {
	base := experiment{world: "1", workers: []int{1, 8}, rounds: 5, duration: 500 * time.Millisecond, warm: 700 * time.Millisecond, count: true}
	client, server, again, https, full := base, base, base, base, base
	client.name, client.title = "client", "Full mutual handshakes as client"
	client.workload, client.contenders, client.address = "handshake", everyClient, fullOnly
	server.name, server.title = "server", "Full mutual handshakes as server (OpenSSL client)"
	server.workload, server.kind, server.contenders = "serve", serves, everyServer
	again.name, again.title = "resumed", "Resumed handshakes as client"
	again.workload, again.contenders, again.address = "resumed", everyClient, resumes
	https.name, https.title = "https", "HTTPS requests on connections that are kept"
	https.workload, https.contenders, https.address = "https", []string{us, "crypto11", "Java"}, overHTTP
	full.name, full.title = "client-many", "Full handshakes as client, by the size of the trust store"
	full.workload, full.contenders, full.workers = "handshake", []string{us, "hsmtls, 1 000 entries", "hsmtls, 10 000 entries"}, []int{1}
	full.count = false
	return []experiment{client, server, again, https, full}
}

func startUps() []experiment {
	base := experiment{workload: "start", kind: starts, workers: []int{1}, rounds: 11, count: true, times: true, address: fullOnly}
	one, many, slowed := base, base, base
	one.name, one.title, one.world = "start-1", "Process start to first handshake, 1 certificate on the token", "0"
	one.contenders = append(append([]string{}, everyClient...), "raw C")
	many.name, many.title, many.world = "start-1000", "Process start to first handshake, 1 000 certificates on the token", "1000"
	many.contenders = append(append([]string{}, everyClient...), "hsmtls, trust store", "raw C", "raw C, reads all")
	slowed.name, slowed.title, slowed.world = "start-5ms", "Process start to first handshake, 1 certificate, 5 ms for a module call", "0"
	slowed.contenders, slowed.route, slowed.delay, slowed.rounds, slowed.count = one.contenders, slow, 5*time.Millisecond, 5, false
	return []experiment{one, many, slowed}
}

func trusts(quick bool) []experiment {
	var all []experiment
	for _, n := range []string{"100", "1000", "10000"} {
		if quick && n == "10000" {
			continue
		}
		base := experiment{world: n, workers: []int{1}, rounds: 5, duration: 500 * time.Millisecond, count: true, times: true}
		load, refresh, inject := base, base, base
		load.name, load.title, load.workload = "trust-load-"+n, "Loading "+n+" trust entries", "trust-load"
		load.contenders = []string{us, "raw C", "Java", "pkcs11-tool, whole process", "keytool, whole process"}
		if n != "10000" { // it would take minutes: quadratic
			load.contenders = append(load.contenders, "crypto11")
		}
		refresh.name, refresh.title, refresh.workload = "trust-refresh-"+n, "Refresh of "+n+" trust entries after one change", "trust-refresh"
		refresh.contenders, refresh.count = []string{us}, false
		inject.name, inject.title, inject.workload = "trust-inject-"+n, "Injecting one certificate beside "+n, "trust-inject"
		inject.contenders = []string{us, "raw C", "crypto11", "Java"}
		all = append(all, load, refresh, inject)
	}
	return all
}

func storms() []experiment {
	base := experiment{workload: "handshake", world: "1", workers: []int{2000}, address: fullOnly, mayFail: true}
	storm, stuck := base, base
	storm.name, storm.title, storm.rounds = "storm", "2 000 dials at once", 3
	storm.contenders = []string{us, "crypto11", "GnuTLS", "Java"}
	stuck.name, stuck.title, stuck.rounds = "storm-stuck", "2 000 dials at once, 500 ms for a module call", 1
	stuck.route, stuck.delay, stuck.contenders = slow, 500*time.Millisecond, []string{us, "crypto11"}
	return []experiment{storm, stuck}
}

func slowTokens() []experiment {
	var all []experiment
	for _, d := range []struct {
		delay time.Duration
		name  string
	}{{2 * time.Millisecond, "2ms"}, {5 * time.Millisecond, "5ms"}, {20 * time.Millisecond, "20ms"}} {
		base := experiment{world: "1", route: slow, delay: d.delay, workers: []int{1, 8}, rounds: 3, duration: 500 * time.Millisecond, warm: 300 * time.Millisecond}
		sign, client := base, base
		sign.name, sign.title, sign.workload = "sign-"+d.name, "Signatures: RSA-2048, PKCS #1 v1.5, "+d.delay.String()+" for a module call", "sign-pkcs1"
		sign.contenders = append([]string{us, "hsmtls, 8 sessions"}, everySigner[1:]...)
		client.name, client.title, client.workload = "client-"+d.name, "Full mutual handshakes as client, "+d.delay.String()+" for a module call", "handshake"
		client.contenders, client.address = append([]string{us, "hsmtls, 8 sessions"}, everyClient[1:]...), fullOnly
		all = append(all, sign, client)
	}
	return all
}

func remoteTokens() []experiment {
	base := experiment{world: "1", route: remote, workers: []int{1, 8}, rounds: 3, duration: 500 * time.Millisecond, warm: 500 * time.Millisecond}
	sign, client := base, base
	sign.name, sign.title, sign.workload = "sign-p11kit", "Signatures: RSA-2048, PKCS #1 v1.5, through p11-kit remoting", "sign-pkcs1"
	sign.contenders = everySigner
	client.name, client.title, client.workload = "client-p11kit", "Full mutual handshakes as client, through p11-kit remoting", "handshake"
	client.contenders, client.address = everyClient, fullOnly
	return []experiment{sign, client}
}
