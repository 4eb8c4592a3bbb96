// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hsmtls/hsmtls-go/hsm"
)

func checkModule(ctx context.Context, e *exam) []finding {
	path, _ := e.app.globals.modulePath()
	var err error
	if e.before, err = e.app.globals.listTokens(ctx); err != nil {
		return []finding{{
			Level: levelError, Subject: path, Text: sentence(err), Why: "without its module no token can be used",
			Mend: mend("doctor", "--module", "FILE"),
		}}
	}
	if len(e.before) == 0 {
		e.before = []hsm.Info{}
		return []finding{{
			Level: levelWarning, Subject: path, Text: "the module loads, and shows no token at all",
			Why: "a reader without a card, or a service that is not running", Mend: mend("token", "list"),
		}}
	}
	path = e.before[0].Module
	text := fmt.Sprintf("%s, %s", e.before[0].Library, count(len(e.before), "slot with a token", "slots with tokens"))
	return orFine(writable(path), filepath.Base(path)+": "+text)
}

// writable finds that others than the owner can replace the module.
func writable(path string) []finding {
	for _, p := range []string{path, filepath.Dir(path)} {
		info, err := os.Stat(p)
		if err != nil || info.Mode().Perm()&0o022 == 0 || info.Mode()&fs.ModeSticky != 0 {
			continue
		}
		return []finding{{
			Level: levelWarning, Subject: p, Text: "others than its owner can write it",
			Why:  "whoever replaces the module is given the PIN at the next login",
			Mend: "chmod go-w " + word(p),
		}}
	}
	return nil
}

// checkToken opens the token, which logs in. What is wrong with the PIN is for
// the next check.
func checkToken(ctx context.Context, e *exam) []finding {
	e.tok, e.openErr = openToken(ctx, e.cfg)
	if e.openErr != nil {
		e.tok = nil
		return e.notOpen()
	}
	info, err := e.tok.Info(ctx)
	if err != nil {
		return []finding{{Level: levelError, Text: sentence(err), Mend: mend("token", "watch")}}
	}
	e.info = info
	e.look(ctx)
	return orFine(e.shared(), fmt.Sprintf("%s, serial %s, slot %d", cell(info.Label), cell(info.Serial), info.Slot))
}

// shared finds what makes the token hard to name, or to use.
func (e *exam) shared() (found []finding) {
	same := slices.DeleteFunc(slices.Clone(e.before), func(i hsm.Info) bool { return i.Label != e.info.Label })
	if len(same) > 1 {
		found = append(found, finding{
			Level: levelNote, Subject: e.info.Label, Text: count(len(same), "token has", "tokens have") + " this label; serial " + e.info.Serial + " is meant",
			Why: "its label alone does not name it", Mend: "export HSMTLS_SERIAL=" + word(e.info.Serial),
		})
	}
	if slices.Contains(e.info.Flags, "write protected") {
		found = append(found, finding{Level: levelWarning, Subject: e.info.Label, Text: "the token is write protected",
			Why: "nothing can be renewed, revoked or removed on it"})
	}
	return found
}

// aboutPIN tells whether a token was found and only the login failed.
func aboutPIN(err error) bool {
	for _, target := range []error{hsm.ErrPIN, hsm.ErrPINLocked, hsm.ErrPINFinalTry, hsm.ErrNoPIN, hsm.ErrPINFile, fs.ErrNotExist, fs.ErrPermission} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

func (e *exam) notOpen() []finding {
	err := e.openErr
	f := finding{Level: levelError, Subject: e.cfg.Token, Text: sentence(err), Mend: mend("token", "list")}
	switch {
	case aboutPIN(err):
		return []finding{{Level: levelNote, Subject: e.cfg.Token, Text: "there is one, and the login failed: see pin"}}
	case errors.Is(err, hsm.ErrAmbiguous):
		f.Why, f.Mend = "nothing is done on a token that may be the wrong one", mends(mend("token", "list"), "export HSMTLS_SERIAL=SERIAL")
	case errors.Is(err, hsm.ErrNotInitialized), errors.Is(err, hsm.ErrNotFound) && !slices.ContainsFunc(e.before, func(i hsm.Info) bool { return i.Initialized }):
		label := "LABEL"
		if e.cfg.Token != "" {
			label = word(e.cfg.Token)
		}
		f.Mend = mend("token", "init", "--label", label, "--so-pin-file", "SO-PIN-FILE", "--pin-file", "PIN-FILE")
	}
	return []finding{f}
}

// A pinFlag is what a token says of its PINs, as package hsm puts it.
type pinFlag struct {
	flag, level, why, mend string
}

var setPIN = mend("token", "set-pin", "--new-pin-file", "PIN-FILE")

var pinFlags = []pinFlag{
	{"user PIN: wrong PIN entered before", levelNote, "somebody may be guessing; the right PIN of this login has reset the count", ""},
	{"user PIN must be changed", levelWarning, "the token may refuse everything else", setPIN},
	{"SO PIN locked", levelWarning, "a user PIN that gets locked cannot be unlocked; only wiping the token would help", ""},
	{"SO PIN: one try left", levelWarning, "a user PIN that gets locked may not be unlocked any more", ""},
	{"SO PIN: wrong PIN entered before", levelNote, "somebody may be guessing", ""},
}

func checkPIN(_ context.Context, e *exam) (found []finding) {
	if e.openErr != nil {
		return e.noLogin()
	}
	for _, i := range e.before {
		if i.Slot != e.info.Slot || i.Serial != e.info.Serial {
			continue
		}
		for _, p := range pinFlags {
			if slices.Contains(i.Flags, p.flag) {
				found = append(found, finding{Level: p.level, Subject: i.Label, Text: p.flag, Why: p.why, Mend: p.mend})
			}
		}
	}
	return orFine(found, "accepted, and no wrong one was entered before")
}

// noLogin says why there was none.
func (e *exam) noLogin() []finding {
	err, file := e.openErr, "PIN-FILE"
	if e.app.globals.pinFile != "" {
		file = word(e.app.globals.pinFile)
	}
	unblock := mend("token", "unblock-pin", "--so-pin-file", "SO-PIN-FILE", "--new-pin-file", file)
	f := finding{Level: levelError, Subject: e.cfg.Token, Text: sentence(err)}
	switch {
	case !aboutPIN(err):
		return []finding{{Level: levelNote, Text: "not looked at: the token is not open"}}
	case errors.Is(err, hsm.ErrPINLocked):
		f.Why, f.Mend = "wrong PINs were entered; nothing was tried now", unblock
	case errors.Is(err, hsm.ErrPINFinalTry):
		f.Why, f.Mend = "one more wrong PIN locks the token, so nothing was tried now", unblock
	case errors.Is(err, hsm.ErrPINFile):
		f.Why, f.Mend = "a PIN that others can read protects nothing; it was not sent to the token", mends("chmod 600 "+file, setPIN)
	case errors.Is(err, hsm.ErrPIN):
		f.Why, f.Mend = "it was tried once, which costs a try; correct the file, or set the PIN that is in it", unblock
	default:
		f.Mend = mend("doctor", "--pin-file", "PIN-FILE")
	}
	return []finding{f}
}

// littleSpace is what a renewal with its chain may take, in bytes.
const littleSpace = 16 << 10

func checkSpace(_ context.Context, e *exam) (found []finding) {
	var known []string
	for _, m := range []struct {
		kind string
		free int64
	}{{"public", e.info.FreePublic}, {"private", e.info.FreePrivate}} {
		if m.free < 0 {
			continue
		}
		known = append(known, fmt.Sprintf("%d bytes for %s objects", m.free, m.kind))
		if m.free < littleSpace {
			found = append(found, finding{
				Level: levelWarning, Subject: e.info.Label, Text: fmt.Sprintf("%d bytes are free for %s objects", m.free, m.kind),
				Why: "a renewal writes the new certificate beside the old one", Mend: mends(mend("clean"), mend("trust", "remove", "ALIAS")),
			})
		}
	}
	if len(known) == 0 {
		return []finding{{Level: levelOK, Text: "the token does not say how much is free"}}
	}
	return orFine(found, "free: "+strings.Join(known, ", "))
}
