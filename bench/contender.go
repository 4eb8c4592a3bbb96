// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build linux && cgo

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// A contender is a row of the tables.
type contender struct {
	program  string   // in the folder of the contenders; "" if it is one of the daemons or tools
	env      []string // beside what the place says
	world    string   // instead of the experiment's
	workload string   // instead of the experiment's
}

// contenders are the rows by name, daemons and tools excepted.
var contenders = map[string]contender{
	us:                       {program: "hsmtls"},
	"hsmtls, 8 sessions":     {program: "hsmtls", env: []string{"BENCH_SESSIONS=8"}},
	"hsmtls, 2 sessions":     {program: "hsmtls", env: []string{"BENCH_SESSIONS=2"}},
	"hsmtls, trust store":    {program: "hsmtls", workload: "start-trust"},
	"hsmtls, 10 000 entries": {program: "hsmtls", world: "10000"},
	"hsmtls, 1 000 entries":  {program: "hsmtls", world: "1000"},
	"crypto11":               {program: "crypto11"},
	"raw C":                  {program: "raw"},
	"raw C, reads all":       {program: "raw", workload: "start-trust"},
	"OpenSSL engine":         {program: "openssl"},
	"GnuTLS":                 {program: "gnutls"},
	"Java":                   {program: "java"},
}

// argv is how to start a program of the folder, or why it is not there.
func (b *bench) argv(program, workload string) ([]string, error) {
	path := filepath.Join(b.bin, program)
	if reason, err := os.ReadFile(path + ".missing"); err == nil {
		return nil, errors.New(strings.TrimSpace(string(reason)))
	}
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("was not built: %w", err)
	}
	if program == "java" {
		return []string{"java", "-cp", path, "Contender", workload}, nil
	}
	return []string{path, workload}, nil
}

// keyURI names the key in the token.
func keyURI() string { return "pkcs11:token=" + label + ";object=unit_key;type=private" }

// daemons are the servers that come as programs: each writes what it needs into
// a folder and says how it is started.
var daemons = map[string]func(d daemon) ([]string, error){
	"nginx": daemon.nginx, "stunnel": daemon.stunnel, "ghostunnel": daemon.ghostunnel, "openssl s_server": daemon.sServer,
}

// A daemon is where and with what a server is to run.
type daemon struct {
	bin     string // folder of the contenders
	dir     string // of its own
	files   string // of the world
	module  string
	pin     string
	address string // to listen at
	backend string // to connect to, for proxies
}

func (d daemon) write(name, text string) (path string, err error) {
	path = filepath.Join(d.dir, name)
	return path, os.WriteFile(path, []byte(text), 0o600)
}

// engine writes an OpenSSL configuration that knows the module. It is found
// through OPENSSL_CONF.
func (d daemon) engine() error {
	_, err := d.write("openssl.cnf", fmt.Sprintf(`openssl_conf = init
[init]
engines = engines
[engines]
pkcs11 = pkcs11
[pkcs11]
engine_id = pkcs11
MODULE_PATH = %s
PIN = %s
init = 0
`, d.module, d.pin))
	return err
}

// program finds a program on the path or in the folder of the contenders.
func (d daemon) program(name string) (string, error) {
	if reason, err := os.ReadFile(filepath.Join(d.bin, name+".missing")); err == nil {
		return "", errors.New(strings.TrimSpace(string(reason)))
	}
	if path := filepath.Join(d.bin, name); isFile(path) {
		return path, nil
	}
	for _, folder := range []string{"/usr/sbin", "/usr/local/sbin"} { // not on everybody's path
		if path := filepath.Join(folder, name); isFile(path) {
			return path, nil
		}
	}
	return exec.LookPath(name)
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

func (d daemon) nginx() ([]string, error) {
	path, err := d.program("nginx")
	if err != nil {
		return nil, err
	}
	conf, err := d.write("nginx.conf", fmt.Sprintf(`daemon off;
user root;
worker_processes auto;
pid %[1]s/nginx.pid;
error_log stderr error;
env SOFTHSM2_CONF;
env OPENSSL_CONF;
ssl_engine pkcs11;
events { worker_connections 4096; }
http {
	access_log off;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
	server {
		listen %[2]s ssl;
		ssl_protocols TLSv1.2;
		ssl_certificate %[3]s/unit.pem;
		ssl_certificate_key "engine:pkcs11:%[4]s;pin-value=%[5]s";
		ssl_client_certificate %[3]s/root.pem;
		ssl_verify_client on;
		return 200;
	}
}
`, d.dir, d.address, d.files, keyURI(), d.pin))
	return []string{path, "-p", d.dir, "-c", conf, "-e", "stderr"}, errors.Join(err, d.engine())
}

func (d daemon) stunnel() ([]string, error) {
	path, err := d.program("stunnel4")
	if err != nil {
		path, err = d.program("stunnel")
	}
	if err != nil {
		return nil, err
	}
	conf, err := d.write("stunnel.conf", fmt.Sprintf(`foreground = yes
pid =
debug = err
socket = l:TCP_NODELAY=1
engine = pkcs11
engineCtrl = MODULE_PATH:%s
engineCtrl = PIN:%s
[bench]
accept = %s
connect = %s
cert = %[5]s/unit.pem
engineId = pkcs11
key = %s
CAfile = %[5]s/root.pem
verifyChain = yes
sslVersion = TLSv1.2
`, d.module, d.pin, d.address, d.backend, d.files, keyURI()))
	return []string{path, conf}, err
}

func (d daemon) ghostunnel() ([]string, error) {
	path, err := d.program("ghostunnel")
	if err != nil {
		return nil, err
	}
	return []string{path, "server", "--listen", d.address, "--target", d.backend,
		"--cert", d.files + "/unit.pem", "--cacert", d.files + "/root.pem", "--allow-all",
		"--pkcs11-module", d.module, "--pkcs11-token-label", label, "--pkcs11-pin", d.pin}, nil
}

func (d daemon) sServer() ([]string, error) {
	path, err := exec.LookPath("openssl") // not the contender of that name
	return []string{path, "s_server", "-accept", d.address, "-tls1_2", "-www", "-quiet", "-engine", "pkcs11", "-keyform", "engine",
		"-key", keyURI(), "-cert", d.files + "/unit.pem", "-CAfile", d.files + "/root.pem", "-Verify", "1"}, errors.Join(err, d.engine())
}
