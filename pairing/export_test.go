// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package pairing

// HoldJournal keeps a terminal from noting anything from now on, so that a test
// can end the process between a delivery and the note of it.
func HoldJournal(t *Terminal) { t.state().journal.mu.Lock() }
