// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"sync"
	"time"

	"github.com/hsmtls/hsmtls-go/hsm"
)

// checkTime is how long a look at the token may take.
const checkTime = 5 * time.Second

// A health says whether a command can do its work. JSON has these fields.
type health struct {
	Status string          `json:"status"` // ok, failing
	Checks []healthFinding `json:"checks"`
}

// A healthFinding is one thing that was looked at.
type healthFinding struct {
	Check  string `json:"check"` // running, token, certificate
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty"`
}

func (h health) ok() bool { return h.Status == "ok" }

// A healthCheck looks at what a command cannot work without. It costs little: the
// token is asked at most every [hsm.CheckInterval], the certificate is in memory.
type healthCheck struct {
	running

	mu       sync.Mutex
	stage    stage
	lastGood *x509.Certificate // the certificate as it was last read
}

// enter hears how far the command is. What is stopping stays so, also if it is asked to
// read the token again.
func (c *healthCheck) enter(s stage) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stage != stopping {
		c.stage = s
	}
}

func (c *healthCheck) look(ctx context.Context) health {
	h := health{Status: "ok", Checks: []healthFinding{c.lookAtStage(), c.lookAtToken(ctx), c.lookAtCertificate(ctx)}}
	for _, f := range h.Checks {
		if !f.OK {
			h.Status = "failing"
		}
	}
	return h
}

func (c *healthCheck) lookAtStage() healthFinding {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch c.stage {
	case stopping:
		return healthFinding{"running", false, "stopping"}
	case 0:
		return healthFinding{"running", false, "starting"}
	}
	return healthFinding{"running", true, ""}
}

// lookAtToken does not wait for a token that is known to be away.
func (c *healthCheck) lookAtToken(ctx context.Context) healthFinding {
	if s := c.token.Status(); s.State != hsm.Ready {
		return healthFinding{"token", false, words(s.State.String(), problem(s.Reason))}
	}
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	if err := c.token.Check(ctx); err != nil {
		return healthFinding{"token", false, problem(err)}
	}
	return healthFinding{"token", true, ""}
}

// lookAtCertificate judges what is presented. That goes on to be what it was when it
// cannot be read again.
func (c *healthCheck) lookAtCertificate(ctx context.Context) healthFinding {
	read, err := c.provider.Keys.Certificate(ctx, c.alias)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		c.lastGood = read.Leaf
	}
	leaf := c.lastGood
	if leaf == nil {
		return healthFinding{"certificate", false, problem(err)}
	}
	now, until := time.Now(), leaf.NotAfter.UTC().Format(time.RFC3339)
	switch {
	case now.After(leaf.NotAfter):
		return healthFinding{"certificate", false, "expired on " + until}
	case now.Before(leaf.NotBefore):
		return healthFinding{"certificate", false, "not valid before " + leaf.NotBefore.UTC().Format(time.RFC3339)}
	case err != nil:
		return healthFinding{"certificate", true, fmt.Sprintf("valid until %s; cannot be read again: %s", until, problem(err))}
	}
	return healthFinding{"certificate", true, "valid until " + until}
}

func words(first, second string) string {
	if second == "" {
		return first
	}
	return first + ": " + second
}
