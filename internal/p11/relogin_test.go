// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo

package p11

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/pkcs11"
	"github.com/stretchr/testify/require"
)

// A careful library has a key that wants the PIN for every signature, and does not
// take it.
type careful struct {
	library
	logins, begun atomic.Int64
}

func (c *careful) SignInit(pkcs11.SessionHandle, []*pkcs11.Mechanism, pkcs11.ObjectHandle) error {
	c.begun.Add(1)
	return nil
}

func (c *careful) Login(pkcs11.SessionHandle, uint, string) error {
	c.logins.Add(1)
	time.Sleep(time.Millisecond)
	return pkcs11.Error(pkcs11.CKR_PIN_INCORRECT)
}

func carefulSession(source func(context.Context) ([]byte, error)) (*careful, session) {
	info := TokenInfo{Flags: TokenFlags{Initialized: true, LoginRequired: true}}
	c := newCore(&module{}, Config{PIN: source}, info)
	c.remember([]byte("123456"))
	raw := &careful{}
	return raw, session{raw: raw, pool: newPool(c, nil, 0, nil)}
}

// TestPINForEachSignatureIsTriedOnce: a PIN that was changed elsewhere is refused
// once, and not once for each signature until the token is locked.
func TestPINForEachSignatureIsTriedOnce(t *testing.T) {
	t.Parallel()
	raw, v := carefulSession(func(context.Context) ([]byte, error) { return []byte("123456"), nil })
	var signing sync.WaitGroup
	for range 8 {
		signing.Go(func() {
			if err := v.begin(ckMechanism{}, 1); !errors.Is(err, ErrPIN) {
				t.Error(err)
			}
		})
	}
	signing.Wait()
	require.EqualValues(t, 1, raw.logins.Load())

	v.pool.core.remember([]byte("123456")) // a new login has proved it
	require.ErrorIs(t, v.begin(ckMechanism{}, 1), ErrPIN)
	require.EqualValues(t, 2, raw.logins.Load())
}

// TestNoPINNoOperation: nothing is begun in a session without the PIN it takes.
func TestNoPINNoOperation(t *testing.T) {
	t.Parallel()
	gone := errors.New("no PIN file")
	raw, v := carefulSession(func(context.Context) ([]byte, error) { return nil, gone })
	require.ErrorIs(t, v.begin(ckMechanism{}, 1), gone)
	require.Zero(t, raw.begun.Load())
}

// TestLateInAnyOrder: a signature that is made again after an outage comes to the new
// pool after others and is late before them.
func TestLateInAnyOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPool(newCore(&module{}, Config{Sessions: 1}, TokenInfo{}), nil, 0, nil)
		p.workers = p.limit // which all hang
		start := time.Now()
		late := func(after time.Duration) *job {
			j := &job{done: make(chan error, 1), deadline: start.Add(after)}
			require.NoError(t, p.submit(j))
			return j
		}
		young, old := late(10*time.Second), late(5*time.Second)
		require.ErrorIs(t, <-old.done, ErrBusy)
		require.Equal(t, 5*time.Second, time.Since(start))
		require.ErrorIs(t, <-young.done, ErrBusy)
		require.Equal(t, 10*time.Second, time.Since(start))
	})
}

// TestNoBuildAfterTheEnd: a token that is being closed is not opened again, and leaves
// its last generation to who closes it.
func TestNoBuildAfterTheEnd(t *testing.T) {
	t.Parallel()
	c := newCore(&module{}, Config{}, TokenInfo{})
	c.publish(&generation{pool: newPool(c, nil, 0, nil)})
	c.quit()
	g := c.generation.Load()
	c.lose(g, errLost)
	require.Same(t, g, c.generation.Load())
	require.NotEqual(t, Recovering, c.state())
	c.end()
	require.Equal(t, Closed, c.state())
}

// TestLostAtOnceIsNotReady: a generation that is lost before its token was said to be
// ready leaves it recovering.
func TestLostAtOnceIsNotReady(t *testing.T) {
	t.Parallel()
	c := newCore(&module{}, Config{}, TokenInfo{})
	g := &generation{pool: newPool(c, nil, 0, nil)}
	c.generation.Store(g) // the first half of publish
	c.lose(g, errLost)
	c.set(Ready, nil) // the second
	require.Equal(t, Recovering, c.state())
	c.end()
}

// TestManyReopenOnce: however many ask for it at once, the token is opened again once,
// and so is its PIN tried.
func TestManyReopenOnce(t *testing.T) {
	t.Parallel()
	none, cancel := context.WithCancel(t.Context())
	cancel() // nobody waits
	for range 2000 {
		c := newCore(&module{}, Config{}, TokenInfo{})
		c.set(Failed, ErrPIN)
		var opened atomic.Int64
		c.watch(func(Status) { opened.Add(1) })
		var asking sync.WaitGroup
		start := make(chan struct{})
		for range 4 {
			asking.Go(func() {
				<-start
				_ = c.reopen(none)
			})
		}
		close(start)
		asking.Wait()
		require.EqualValues(t, 1, opened.Load())
		c.end()
	}
}
