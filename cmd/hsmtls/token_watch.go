// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/keystore"
)

// A watched is what token watch shows. JSON has these fields.
type watched struct {
	Time       time.Time `json:"time"`
	State      string    `json:"state"` // ready, recovering, failed, closed
	Reason     string    `json:"reason,omitempty"`
	Sessions   int       `json:"sessions"`
	InFlight   int       `json:"in_flight"`
	Queued     int       `json:"queued"`
	Hung       int       `json:"hung"`
	Signatures uint64    `json:"signatures"`
	Outages    uint64    `json:"outages"`
	Last       string    `json:"last_outage,omitempty"` // how long it took
}

func describeWatched(s hsm.Status) watched {
	d := watched{
		Time: time.Now().UTC(), State: s.State.String(), Sessions: s.Sessions, InFlight: s.InFlight,
		Queued: s.Queued, Hung: s.Hung, Signatures: s.Signatures, Outages: s.Outages,
	}
	if s.Reason != nil {
		d.Reason = clean(s.Reason.Error())
	}
	if o := s.LastOutage; !o.End.IsZero() {
		d.Last = o.End.Sub(o.Start).Round(time.Millisecond).String()
	}
	return d
}

func (s watched) line() string {
	text := fmt.Sprintf("%s %s, %d sessions, %d in flight, %d queued, %d hung, %d signatures, %d outages",
		s.Time.Format(time.TimeOnly), s.State, s.Sessions, s.InFlight, s.Queued, s.Hung, s.Signatures, s.Outages)
	if s.Last != "" {
		text += ", the last of " + s.Last
	}
	if s.Reason != "" {
		text += ": " + s.Reason
	}
	return text
}

func (a *app) tokenWatch() *cobra.Command {
	var alias string
	var every time.Duration
	c := &cobra.Command{
		Use:   "watch",
		Short: "open a token and say how it is, until interrupted",
		Long: `watch opens the token and prints a line at once, after every change (lost sessions,
recovery, a call that hangs) and after every check. A check makes a signature with
--key, or asks for the state of a session without it. It ends with an interrupt.

JSON, one object a line: time, state, reason, sessions, in_flight, queued, hung,
signatures, outages, last_outage.`,
		Args:              takes(),
		ValidArgsFunction: completes(),
		RunE: a.does(func(ctx context.Context, _ []string) error {
			if every < time.Second {
				return usagef("invalid argument %v for --every: it is at least 1s", every)
			}
			return a.withToken(ctx, func(tok *hsm.Token) error {
				if alias != "" {
					if _, err := keystore.New(tok).Key(ctx, alias); err != nil {
						return err
					}
				}
				return a.watchToken(ctx, tok, every)
			})
		}),
	}
	c.Flags().StringVar(&alias, "key", "", "`KEYALIAS` of a key to prove with a signature at each check")
	c.Flags().DurationVar(&every, "every", hsm.CheckInterval, "`TIME` between checks; the token is asked once in 15s at most")
	return c
}

func (a *app) watchToken(ctx context.Context, tok *hsm.Token, every time.Duration) error {
	changes := make(chan hsm.Status, 64)
	stop := tok.Watch(func(s hsm.Status) {
		select {
		case changes <- s:
		default: // nobody reads that fast; the next line has the sums
		}
	})
	defer stop()
	tick := time.NewTicker(every)
	defer tick.Stop()
	checked := make(chan error, 1)
	busy := true
	check := func() { checked <- tok.Check(ctx) }
	go check()
	defer func() {
		if busy {
			<-checked
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return nil
		case s := <-changes:
			if err := a.printStatus(s); err != nil {
				return err
			}
		case err := <-checked:
			busy = false
			if err != nil && ctx.Err() == nil {
				a.warn("check: %v", err)
			}
			if err := a.printStatus(tok.Status()); err != nil {
				return err
			}
		case <-tick.C:
			if !busy {
				busy = true
				go check()
			}
		}
	}
}

func (a *app) printStatus(s hsm.Status) error {
	d := describeWatched(s)
	if a.globals.json {
		return a.showLine(d)
	}
	_, err := fmt.Fprintln(a.stdout, d.line())
	return err
}
