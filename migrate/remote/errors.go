package remote

import (
	"fmt"
	"strings"
)

// OptionError is an option that cannot be used.
type OptionError struct {
	Text   string
	Advice string
}

func (e *OptionError) Error() string { return e.Text }

// Hint says what to do.
func (e *OptionError) Hint() string { return e.Advice }

// Reason is why there is no connection.
type Reason int

// The reasons there are.
const (
	Unreachable    Reason = iota // no such name, nobody answers, no network
	HostKeyUnknown               // the key is in no known_hosts file
	HostKeyChanged               // it is there with another key, or revoked
	AuthRefused                  // no key or password was accepted
	Lost                         // there was a connection, and it broke
	BadConfig                    // ssh does not understand its configuration
	NoProgram                    // there is no ssh here
)

// ConnectError is a connection that could not be made, or broke.
type ConnectError struct {
	Target string
	Reason Reason
	Said   string // ssh's last line
	Err    error  // of running ssh; may be nil
	opts   Options
}

func (e *ConnectError) Error() string {
	what := map[Reason]string{
		Unreachable: "cannot be reached", HostKeyUnknown: "its host key is not known", HostKeyChanged: "its host key is not the known one",
		AuthRefused: "the login was refused", Lost: "the connection broke", BadConfig: "ssh's configuration is in error", NoProgram: "ssh cannot be run",
	}[e.Reason]
	said := e.Said
	if said == "" && e.Err != nil {
		said = e.Err.Error()
	}
	if said != "" {
		said = " (" + said + ")"
	}
	return fmt.Sprintf("connect to %s: %s%s", e.Target, what, said)
}

func (e *ConnectError) Unwrap() error { return e.Err }

// Hint says what to do.
func (e *ConnectError) Hint() string {
	_, host, found := strings.Cut(e.Target, "@")
	if !found {
		host = e.Target
	}
	byHand := "ssh " + Quote(append(e.opts.flags(), e.Target)...)
	switch e.Reason {
	case HostKeyUnknown:
		return "log in once by hand, compare the fingerprint and accept it: " + byHand
	case HostKeyChanged:
		if e.opts.Port != 0 {
			host = fmt.Sprintf("'[%s]:%d'", host, e.opts.Port) // as known_hosts has it
		}
		return "if the host was set up anew, forget the old key: ssh-keygen -R " + host + "; if it was not, somebody else answers for it"
	case AuthRefused:
		hint := "ssh has to log in without asking: ssh-copy-id " + Quote(append(e.opts.flags(), e.Target)...) + ", or run this in a terminal"
		if e.opts.Ask {
			hint = "the key or password is not the one that " + host + " expects: this has to work: " + byHand
		}
		if e.opts.Identity == "" {
			hint += "; name the key if it is not one of ssh's own (--ssh-key)"
		}
		return hint
	case Lost:
		return "run the command again: what was copied stays"
	case NoProgram:
		return "install it: apt-get install openssh-client"
	case BadConfig:
		return "correct it, or name another file (--ssh-config)"
	}
	if e.opts.Port == 0 {
		return "this has to work: " + byHand + "; name the port if sshd there listens on another (--ssh-port)"
	}
	return "this has to work: " + byHand
}

// ShellError is a login shell that says something of its own, which would be
// taken for a program's output.
type ShellError struct {
	Host string
	Said string // its last line
}

func (e *ShellError) Error() string {
	return fmt.Sprintf("run a command on %s: its login shell adds to the output (%q)", e.Host, e.Said)
}

// Hint says what to do.
func (e *ShellError) Hint() string {
	return "in its ~/.bashrc or the like, print only where there is a terminal: [ -t 1 ] || return"
}

// SudoError is sudo that refuses.
type SudoError struct {
	Host string
	Said string // sudo's last line
}

func (e *SudoError) Error() string { return fmt.Sprintf("run sudo on %s: %s", e.Host, e.Said) }

// Hint says what to do.
func (e *SudoError) Hint() string {
	return "sudo must ask for no password: a line `USER ALL=(root) NOPASSWD: ALL` in /etc/sudoers.d there, or log in as root"
}

// NotFoundError is a program that the host does not have.
type NotFoundError struct {
	Host string
	Name string
}

func (e *NotFoundError) Error() string {
	return fmt.Sprintf("%s is not installed on %s", e.Name, e.Host)
}

// Hint says what to do.
func (e *NotFoundError) Hint() string { return "install it there" }

// ExitError is a program that ran there and failed.
type ExitError struct {
	Host   string
	Name   string // of the program, or "script"
	Status int
	Said   string // the last line of its standard error
}

func (e *ExitError) Error() string {
	text := fmt.Sprintf("run %s on %s: exit status %d", e.Name, e.Host, e.Status)
	if e.Said != "" {
		text += ": " + e.Said
	}
	return text
}

// LimitError is output beyond what a command was allowed.
type LimitError struct {
	Host  string
	Name  string
	Bytes int64
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("run %s on %s: it wrote more than %d bytes", e.Name, e.Host, e.Bytes)
}

// What ssh says (OpenSSH's ssh.c, sshconnect.c, clientloop.c, mux.c; its
// messages are not translated), in the order in which they are looked for.
var reasons = []struct {
	text   string
	reason Reason
}{
	{"REMOTE HOST IDENTIFICATION HAS CHANGED", HostKeyChanged},
	{"has changed and you have requested strict checking", HostKeyChanged},
	{"REVOKED HOST KEY", HostKeyChanged},
	{"Host key verification failed", HostKeyUnknown},
	{"host key is known for", HostKeyUnknown},
	{"Permission denied (", AuthRefused},
	{"Too many authentication failures", AuthRefused},
	{"No more authentication methods", AuthRefused},
	{"Bad configuration option", BadConfig},
	{"bad configuration options", BadConfig},
	{"Bad owner or permissions", BadConfig},
	{"keyword ", BadConfig}, // "keyword X extra arguments at end of line"
	{"Can't open user config file", BadConfig},
	{"client_loop: ", Lost},
	{", server ", Lost}, // "Timeout, server X not responding."
	{"closed by remote host", Lost},
	{"mux_client_", Lost},
	{"Control socket ", Lost},
	{"Broken pipe", Lost},
	{"Could not resolve hostname", Unreachable},
	{"connect to host", Unreachable},
	{"kex_exchange_identification", Unreachable},
	{"banner exchange", Unreachable},
	{"Unable to negotiate", Unreachable},
	{"Connection closed by", Unreachable},
	{"Connection reset by", Unreachable},
	{"Connection timed out", Unreachable},
	{"ssh_exchange_identification", Unreachable},
}

// reasonOf reads ssh's words.
func reasonOf(stderr string) (reason Reason, found bool) {
	for _, r := range reasons {
		if strings.Contains(stderr, r.text) {
			return r.reason, true
		}
	}
	return Unreachable, false
}
