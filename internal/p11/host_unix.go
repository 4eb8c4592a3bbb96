// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo && unix

package p11

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// hostMark is set in the environment of a module host, so that one that is told to
// start another one does not.
const hostMark = "HSMTLS_MODULE_HOST_SERVES"

// startHost starts the program that runs the module and has it load the library.
func startHost(m *module, log *slog.Logger) (library, error) {
	if os.Getenv(hostMark) != "" {
		return nil, errors.New("a module host starts no module host")
	}
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, fmt.Errorf("module host: %w", err)
	}
	defer theirs.Close()
	defer ours.Close()
	control, err := net.FileConn(ours)
	if err != nil {
		return nil, fmt.Errorf("module host: %w", err)
	}
	cmd := exec.Command(m.host, HostArgument)
	cmd.Env = hostEnviron()
	cmd.ExtraFiles = []*os.File{theirs} // as hostSocket
	output := &hostOutput{log: log}
	cmd.Stdout, cmd.Stderr = output, output
	cmd.WaitDelay = time.Second // for what its children keep open
	cmd.SysProcAttr = hostAttributes()
	h := &hosted{
		program: m.host, process: cmd, exited: make(chan struct{}), control: control.(*net.UnixConn),
		lines: map[*line]struct{}{}, gone: make(chan struct{}), hangs: &m.hangs,
	}
	if err := h.run(output); err != nil {
		_ = control.Close()
		return nil, fmt.Errorf("module host: %w", err)
	}
	output.pid.Store(int64(cmd.Process.Pid))
	go h.mourn()
	if _, err := h.ask(question{Function: greeting, Flags: protocol, Text: m.path}, startLimit); err != nil {
		h.Destroy()
		return nil, err
	}
	return h, nil
}

// run starts the process and waits for it in a goroutine. That keeps to one thread,
// because Linux takes the end of the thread that started a process for the end of
// the parent.
func (h *hosted) run(output *hostOutput) error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := h.process.Start()
		started <- err
		if err == nil {
			_ = h.process.Wait()
			output.flush()
			close(h.exited)
			h.end(nil) // a child of the host may have its sockets still
		}
	}()
	return <-started
}

// socketPair makes a socket of which no other process gets an end by accident.
func socketPair() (ours, theirs *os.File, err error) {
	syscall.ForkLock.RLock()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fds[0])
		syscall.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	return os.NewFile(uintptr(fds[0]), "module host"), os.NewFile(uintptr(fds[1]), "module host"), nil
}

// connect makes a socket and sends the host its end of it. If that fails, nobody has
// that end, which shows when something is asked.
func (h *hosted) connect() (*os.File, error) {
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	_ = h.control.SetWriteDeadline(time.Now().Add(startLimit))
	_, _, _ = h.control.WriteMsgUnix([]byte{0}, syscall.UnixRights(int(theirs.Fd())), nil)
	return ours, nil
}

// hangUp has whoever reads from a socket read its end.
func hangUp(socket *os.File) {
	raw, err := socket.SyscallConn()
	if err == nil {
		_ = raw.Control(func(fd uintptr) { _ = syscall.Shutdown(int(fd), syscall.SHUT_RDWR) })
	}
}

// ofService are the variables by which systemd talks to this process alone.
var ofService = []string{"NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"}

// hostEnviron is this process's environment: it is where modules find their
// configuration, and nobody knows all the names.
func hostEnviron() []string {
	env := slices.DeleteFunc(os.Environ(), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return slices.Contains(ofService, name)
	})
	return append(env, hostMark+"=1")
}

// A hostOutput logs what a module prints, line by line. Package exec writes to it
// from one goroutine.
type hostOutput struct {
	log  *slog.Logger
	pid  atomic.Int64
	rest []byte
}

// maxLine is how much of a line is logged.
const maxLine = 1024

func (o *hostOutput) Write(p []byte) (int, error) {
	for line := range bytes.Lines(p) {
		o.rest = append(o.rest, line...)
		if bytes.HasSuffix(o.rest, []byte("\n")) || len(o.rest) >= maxLine {
			o.flush()
		}
	}
	return len(p), nil
}

// flush logs what is left of a line, such as the last words of a module that crashes.
func (o *hostOutput) flush() {
	text := bytes.TrimSuffix(o.rest, []byte("\n"))
	if len(text) > 0 && o.log != nil {
		o.log.Warn("p11: module host", "pid", o.pid.Load(), "output", string(text[:min(len(text), maxLine)]))
	}
	o.rest = o.rest[:0]
}
