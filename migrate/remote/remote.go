// Package remote runs programs on another host by the ssh(1) of this one, so
// that whatever works by hand works here: the user's configuration, agent, keys
// and jump hosts. Host keys are always checked.
//
// A Host keeps one connection for each of its slots (ControlMaster), which
// commands and rsync share: a key is asked for once, and a thousand short
// commands do not log in a thousand times. A connection that dies is noticed
// within about a minute (ServerAliveInterval) and made anew by the next command.
//
// What comes back is the other host's: it is limited in size and is never
// interpreted.
package remote

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
)

// Options says which host, and how to get there. Only Target is needed: what is
// left out is ssh's own default, or what the user's ssh_config(5) says.
type Options struct {
	// Target is [USER@]HOST, where HOST may be a name that only ssh_config knows.
	Target     string
	Port       int      // 0: ssh's
	Identity   string   // a key's file; "": ssh's
	ConfigFile string   // in place of the user's and the system's; "": those
	Extra      []string // more of ssh_config, each "Keyword=value"

	// Sudo runs everything as root by sudo(8), which must not want a password.
	Sudo bool
	// Ask lets ssh ask whoever sits at the terminal (a passphrase, a password,
	// whether to trust a new host key). Otherwise it never asks and fails.
	Ask bool
	// Slots is how many connections there are; 0 means 1. Worker i uses slot i.
	Slots int

	Program string // "": ssh
}

// These bound how long a dead network goes unnoticed: a connection attempt, and
// an established connection (aliveInterval × aliveCount).
const (
	connectTimeout = 20 * time.Second
	aliveInterval  = 15 * time.Second
	aliveCount     = 4

	// persist is how long a connection outlives its last use. It is long because
	// who typed a password is not to be asked again, and bounded because
	// whoever kills mailstack leaves it behind.
	persist = 10 * time.Minute

	// How long Close waits for the connections to end.
	closeTimeout = 5 * time.Second

	// A socket's path has 107 octets, and ssh appends 17 while it makes one
	// (muxserver_listen in OpenSSH's mux.c).
	maxControlPath = 107 - 17

	maxSlots = 64
)

// Host is another host.
type Host struct {
	opts Options
	dir  string // of the control sockets, 0700
	// One lock a slot: two commands at once open one connection.
	slots []slot
}

type slot struct {
	sync.Mutex
	open bool // was opened once; whether it still lives only ssh knows
}

// Connect checks o, opens the first connection and proves that a command runs
// there. Its errors are *OptionError, *ConnectError, *SudoError, *ShellError.
func Connect(ctx context.Context, o Options) (*Host, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	if o.Program == "" {
		o.Program = "ssh"
	}
	o.Slots = max(o.Slots, 1)
	dir, err := controlDir()
	if err != nil {
		return nil, err
	}
	h := &Host{opts: o, dir: dir, slots: make([]slot, o.Slots)}
	if err := h.prove(ctx); err != nil {
		return nil, errors.Join(err, h.Close(ctx))
	}
	return h, nil
}

// prove runs a first command. Its output has to be exactly what it prints: a
// login shell that greets everybody would break rsync as well.
func (h *Host) prove(ctx context.Context) error {
	const word = "mailstack-was-here"
	out, err := h.Script(ctx, "printf '%s\n' "+word).Output()
	if err != nil {
		return err
	}
	if strings.TrimSuffix(string(out), "\n") != word {
		return &ShellError{Host: h.opts.Target, Said: lastLine(strings.Replace(string(out), word, "", 1))}
	}
	return nil
}

// Target is [USER@]HOST as it was given.
func (h *Host) Target() string { return h.opts.Target }

// Sudo says whether commands run by way of sudo.
func (h *Host) Sudo() bool { return h.opts.Sudo }

// Slots is how many connections there may be.
func (h *Host) Slots() int { return len(h.slots) }

// Open opens the connection of a slot, if it is not open yet. Commands do that
// by themselves; rsync, which starts ssh itself, gets a better error by it, and
// ssh can ask only here.
func (h *Host) Open(ctx context.Context, number int) error {
	s := &h.slots[number]
	s.Lock()
	defer s.Unlock()
	if s.open {
		return nil
	}
	// -f: ssh goes to the background once it has logged in, and the connection
	// stays.
	args := append(h.options(number, h.opts.Ask), "-f", "-N", "--", h.opts.Target)
	if err := h.connect(ctx, args); err != nil {
		return err
	}
	s.open = true
	return nil
}

// Close ends the connections, also where ctx is cancelled already. Commands
// that still run fail.
func (h *Host) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	for i := range h.slots {
		if _, err := os.Lstat(h.controlPath(i)); err != nil {
			continue // nobody listens there
		}
		_ = h.ssh(ctx, append(h.options(i, false), "-O", "exit", "--", h.opts.Target)).Run() // it may be ending by itself
	}
	return os.RemoveAll(h.dir)
}

// check finds what ssh would misunderstand.
func (o Options) check() error {
	user, host, found := strings.Cut(o.Target, "@")
	if !found {
		user, host = "root", o.Target // any user: it was not given
	}
	for _, part := range []string{user, host} {
		if part == "" || strings.HasPrefix(part, "-") || strings.ContainsFunc(part, func(r rune) bool {
			return unicode.IsSpace(r) || unicode.IsControl(r) || strings.ContainsRune(`/\'"$;&|<>()*?`+"`", r)
		}) {
			return &OptionError{Text: fmt.Sprintf("%q is not [USER@]HOST", o.Target)}
		}
	}
	switch {
	case o.Port < 0 || o.Port > 65535:
		return &OptionError{Text: fmt.Sprintf("ssh port %d is not between 1 and 65535", o.Port)}
	case o.Slots < 0 || o.Slots > maxSlots:
		return &OptionError{Text: fmt.Sprintf("%d ssh connections: at most %d", o.Slots, maxSlots)}
	}
	for _, file := range []string{o.Identity, o.ConfigFile} {
		if file == "" {
			continue
		}
		if _, err := os.Stat(file); err != nil {
			return &OptionError{Text: fmt.Sprintf("ssh file: %v", err)}
		}
	}
	for _, extra := range o.Extra {
		if err := checkExtra(extra); err != nil {
			return err
		}
	}
	return nil
}

// controlDir makes the directory of the control sockets, which only this user
// may enter and whose path is short enough for a socket's.
func controlDir() (string, error) {
	for _, parent := range []string{os.Getenv("XDG_RUNTIME_DIR"), os.TempDir(), "/tmp"} {
		if !filepath.IsAbs(parent) {
			continue
		}
		dir, err := os.MkdirTemp(parent, "ms-ssh-") // 0700
		if err != nil {
			continue
		}
		if len(dir)+len("/00") <= maxControlPath {
			return dir, nil
		}
		_ = os.Remove(dir)
	}
	return "", &OptionError{Text: "make a directory for ssh connections: none can be made in /tmp"}
}

func (h *Host) controlPath(slot int) string { return filepath.Join(h.dir, strconv.Itoa(slot)) }
