// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo && unix

package p11

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
)

// hostSocket is where a host finds its end of the socket.
const hostSocket = 3

var errNotHost = errors.New("a module host is started by the process that uses the module, not by hand")

// ServeModule makes this process a module host: it loads the library that the
// process at the other end of its socket names and answers questions about it. It
// returns when that process is gone or wants no more. Calls may then still be
// inside the library, so nothing should follow but the end of the process.
//
// It leaves no signal but SIGKILL and SIGQUIT to end the process before its time,
// closes all files it has inherited, and forbids core dumps and debuggers.
func ServeModule() error {
	if err := isolate(); err != nil {
		return err
	}
	control, err := controlSocket()
	if err != nil {
		return err
	}
	defer control.Close()
	var s server
	for {
		socket, err := receive(control)
		if err != nil {
			return atEnd(err)
		}
		go s.serve(newLine(socket))
	}
}

// isolate makes sure that this is a host, and gives up what one does not need.
func isolate() error {
	name, err := syscall.Getsockname(hostSocket)
	if _, ok := name.(*syscall.SockaddrUnix); err != nil || !ok || os.Getenv(hostMark) == "" {
		return errNotHost
	}
	// Ctrl-C and systemd mean everybody; the module is needed until the last
	// connection has been drained.
	signal.Ignore(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	syscall.CloseOnExec(hostSocket)
	if err := closeInherited(); err != nil {
		return fmt.Errorf("inherited files: %w", err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}); err != nil {
		return os.NewSyscallError("setrlimit", err)
	}
	return os.NewSyscallError("prctl", undumpable())
}

// closeInherited closes the files that were left open for whoever is started:
// those of Go are not.
func closeInherited() error {
	files, err := os.ReadDir("/dev/fd")
	if err != nil {
		return err
	}
	for _, f := range files {
		fd, err := strconv.Atoi(f.Name())
		if err != nil || fd <= hostSocket {
			continue
		}
		flags, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_GETFD, 0)
		if errno == 0 && flags&syscall.FD_CLOEXEC == 0 {
			_ = syscall.Close(fd)
		}
	}
	return nil
}

func controlSocket() (*net.UnixConn, error) {
	f := os.NewFile(hostSocket, "module host")
	defer f.Close()
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	return conn.(*net.UnixConn), nil
}

// receive returns the next socket that is sent.
func receive(control *net.UnixConn) (*os.File, error) {
	rights := make([]byte, syscall.CmsgSpace(4))
	n, size, _, _, err := control.ReadMsgUnix(make([]byte, 1), rights)
	switch {
	case err != nil:
		return nil, err
	case n == 0:
		return nil, io.EOF
	}
	messages, err := syscall.ParseSocketControlMessage(rights[:size])
	if err != nil || len(messages) != 1 {
		return nil, errors.Join(errors.New("message without a socket"), err)
	}
	fds, err := syscall.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, errors.Join(errors.New("message without a socket"), err)
	}
	return os.NewFile(uintptr(fds[0]), "line"), nil
}

// A server answers the questions of all lines.
type server struct {
	slots   slotLock
	mu      sync.Mutex
	library library // nil before the greeting
}

// serve answers what is asked over one line.
func (s *server) serve(l *line) {
	defer l.socket.Close()
	for {
		var q question
		var a answer
		if l.read(&q) != nil {
			return
		}
		a.put(s.answer(&q, &a))
		if l.encode.Encode(&a) != nil {
			return
		}
	}
}

func (s *server) answer(q *question, a *answer) error {
	l, err := s.libraryFor(q)
	if err != nil || q.Function == greeting {
		return err
	}
	if f, ok := functions[q.Function]; ok {
		return f(l, q, a)
	}
	return fmt.Errorf("module host knows no function %q", q.Function)
}

// libraryFor returns the library, which the greeting loads.
func (s *server) libraryFor(q *question) (_ library, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.library != nil && q.Function != greeting:
		return s.library, nil
	case s.library != nil || q.Function != greeting || q.Flags != protocol:
		return nil, fmt.Errorf("module host is of another version: it speaks %d", protocol)
	}
	s.library, err = link(q.Text, &s.slots)
	return s.library, err
}

// atEnd is nil for the end of a conversation that is over.
func atEnd(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
		return nil
	}
	return err
}
