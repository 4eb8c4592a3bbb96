// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"bufio"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"

	"github.com/hsmtls/hsmtls-go/bench/simterminals"
	"github.com/hsmtls/hsmtls-go/fleet"
	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

// A share is what a process of terminals is told first.
type share struct {
	First, Count int
	Root, Key    []byte // DER, and PKCS #8
}

// simulate is a process of terminals: it answers its share with the terminals, and
// each line "on" and "off" with a line. It ends with its input.
func simulate(in io.Reader, out io.Writer) error {
	lines := bufio.NewReader(in)
	text, err := lines.ReadBytes('\n')
	if err != nil {
		return err
	}
	estate, err := newEstate(text)
	if err != nil {
		return err
	}
	if err := estate.PowerOn(); err != nil {
		return err
	}
	var terminals []fleet.Terminal
	for _, t := range estate.Terminals {
		terminals = append(terminals, fleet.Terminal{Serial: t.Serial, Addr: t.Addr})
	}
	if err := json.NewEncoder(out).Encode(terminals); err != nil {
		return err
	}
	for {
		command, err := lines.ReadString('\n')
		if err != nil {
			estate.PowerOff()
			return nil
		}
		if command == "on\n" {
			err = estate.PowerOn()
		} else {
			estate.PowerOff()
		}
		if err != nil {
			return err
		}
		fmt.Fprintln(out, "done")
	}
}

func newEstate(text []byte) (*simterminals.Estate, error) {
	var s share
	if err := json.Unmarshal(text, &s); err != nil {
		return nil, err
	}
	root, err := x509.ParseCertificate(s.Root)
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(s.Key)
	if err != nil {
		return nil, err
	}
	clients := x509.NewCertPool()
	clients.AddCert(root)
	ca := &testpki.CA{Certificate: root, Key: key.(crypto.Signer)}
	return simterminals.New(s.First, s.Count, ca, clients), nil
}

// A part is a process with some of the terminals.
type part struct {
	cmd       *exec.Cmd
	in        io.WriteCloser
	out       *bufio.Reader
	terminals []fleet.Terminal
}

func startPart(ctx context.Context, s share) (*part, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &part{cmd: exec.CommandContext(ctx, self, "-simulate")}
	p.cmd.Stderr = os.Stderr
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	return p, p.greet(s)
}

func (p *part) greet(s share) error {
	if err := json.NewEncoder(p.in).Encode(s); err != nil {
		return err
	}
	text, err := p.out.ReadBytes('\n')
	if err != nil {
		return err
	}
	return json.Unmarshal(text, &p.terminals)
}

// tell sends a command and waits until it is carried out.
func (p *part) tell(command string) error {
	if _, err := io.WriteString(p.in, command+"\n"); err != nil {
		return err
	}
	_, err := p.out.ReadString('\n')
	return err
}

func (p *part) stop() {
	p.in.Close()
	_ = p.cmd.Wait()
}
