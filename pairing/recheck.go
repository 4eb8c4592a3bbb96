// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package pairing

// watchTrust rechecks the open connections when the terminal's trust, which is
// where a Registry lives, tells of a change: a certificate may be revoked.
func (t *Terminal) watchTrust() (stop func()) {
	trust, ok := t.Provider.Trust.(interface{ Watch(func()) func() })
	if !ok {
		return func() {}
	}
	return trust.Watch(func() { go t.Recheck() })
}
