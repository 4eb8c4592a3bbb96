// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtls

import (
	"context"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// entryPoints is every way to ask a Provider for a connection.
var entryPoints = map[string]func(ctx context.Context, p *Provider, alias string) error{
	"Dial": func(ctx context.Context, p *Provider, alias string) error {
		_, err := p.Dial(ctx, "tcp", "127.0.0.1:1", alias)
		return err
	},
	"Dialer": func(ctx context.Context, p *Provider, alias string) error {
		_, err := (&Dialer{Provider: p, Alias: alias}).DialContext(ctx, "tcp", "127.0.0.1:1")
		return err
	},
	"ClientConfig": func(ctx context.Context, p *Provider, alias string) error {
		_, err := p.ClientConfig(ctx, alias)
		return err
	},
	"ServerConfig": func(ctx context.Context, p *Provider, alias string) error {
		_, err := p.ServerConfig(ctx, alias)
		return err
	},
	"Listen": func(ctx context.Context, p *Provider, alias string) error {
		_, err := p.Listen(ctx, "tcp", "127.0.0.1:0", alias)
		return err
	},
	"NewListener": func(ctx context.Context, p *Provider, alias string) error {
		_, err := (&ListenConfig{Provider: p, Alias: alias}).NewListener(ctx, nil)
		return err
	},
	"Transport": func(ctx context.Context, p *Provider, alias string) error {
		_, err := p.Transport(Alias(alias)).DialTLSContext(ctx, "tcp", "127.0.0.1:1")
		return err
	},
}

func TestIncomplete(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, enter := range entryPoints {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.ErrorIs(t, enter(t.Context(), nil, terminal), ErrIncomplete)
			require.ErrorIs(t, enter(t.Context(), &Provider{}, terminal), ErrIncomplete)
			require.ErrorIs(t, enter(t.Context(), &Provider{Keys: w.keys}, terminal), ErrIncomplete)
			require.ErrorIs(t, enter(t.Context(), &Provider{Trust: w.trust}, terminal), ErrIncomplete)
			require.ErrorIs(t, enter(t.Context(), w.client, ""), ErrIncomplete)
			err := enter(t.Context(), w.client, "other")
			require.ErrorIs(t, err, ErrIncomplete)
			require.ErrorIs(t, err, errUnknownAlias)
		})
	}
}

func TestOutOfRange(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bad := map[string]*Provider{
		"session lifetime":  {SessionLifetime: 24*time.Hour + 1},
		"handshake timeout": {HandshakeTimeout: -1},
		"sign timeout":      {SignTimeout: -1},
		"connection age":    {MaxConnAge: -1},
		"handshakes":        {Admission: Admission{Handshakes: -1}},
		"per source":        {Admission: Admission{PerSource: -1}},
	}
	for name, p := range bad {
		p.Keys, p.Trust = w.keys, w.trust
		for entry, enter := range entryPoints {
			t.Run(name+"/"+entry, func(t *testing.T) {
				t.Parallel()
				require.ErrorIs(t, enter(t.Context(), p, terminal), ErrOutOfRange)
			})
		}
	}
}

// TestEveryFieldIsHonoured fails when a field is added to Provider or Policy
// without a test that shows what it does in both roles.
func TestEveryFieldIsHonoured(t *testing.T) {
	t.Parallel()
	shownBy := map[string]string{
		"Keys":             "TestIncomplete",
		"Trust":            "TestIncomplete, TestDialRefuses, TestListenRefuses",
		"Policy":           "fields below",
		"VerifyPeer":       "TestVerifyPeer",
		"SessionLifetime":  "TestClientSessionLifetime, TestServerSessionLifetime",
		"Sessions":         "TestSessions",
		"HandshakeTimeout": "TestDialHandshakeTimeout, TestListenHandshakeTimeout",
		"SignTimeout":      "TestSignTimeout",
		"MaxConnAge":       "TestMaxConnAge",
		"Admission":        "TestAdmission",
		"Now":              "TestDialRefuses, TestListenRefuses",
		"Logger":           "TestRefusalsAreLogged",
		"ExpiryWarning":    "TestExpiryWarning",
		"Observer":         "TestObserver, TestObserverOfRefusals",

		"AllowTLS13":                  "TestTLS13",
		"AllowNoExtendedMasterSecret": "TestGuard, TestNoExtendedMasterSecretPeer",
	}
	for _, typ := range []reflect.Type{reflect.TypeFor[Provider](), reflect.TypeFor[Policy]()} {
		for f := range typ.Fields() {
			if f.IsExported() {
				require.Contains(t, shownBy, f.Name)
			}
		}
	}
}
