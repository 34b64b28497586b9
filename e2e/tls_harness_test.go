package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2/imapclient"

	"mailstack/certs"
	"mailstack/certs/acme/pebble"
)

// tlsStart says how TLS begins on each listener.
var tlsStart = map[string]certs.StartTLS{
	"smtp": certs.StartSMTP, "submission": certs.StartSMTP, "submissions": certs.Implicit,
	"imap": certs.StartIMAP, "imaps": certs.Implicit, "pop3": certs.StartPOP3, "pop3s": certs.Implicit,
	"managesieve": certs.StartSieve,
}

// newCertificate is how long a new certificate may take to be served, once the
// command that installed it has ended.
const newCertificate = 5 * time.Second

// served is the fingerprint of what a port serves a client that asks so.
func (s *Stack) served(t *testing.T, key string, ask certs.Asked) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cert, err := certs.Served(ctx, s.addr(key), tlsStart[key], ask)
	return cert.Fingerprint, err
}

// own asks for the stack's own name, and takes any key.
func (s *Stack) own() certs.Asked { return certs.Asked{Name: s.hostname()} }

// servesOn waits until every port serves a certificate, and then looks at each
// again: that one connection saw it is not yet that all do.
func (s *Stack) servesOn(t *testing.T, keys []string, want string, ask certs.Asked) {
	t.Helper()
	end := time.Now().Add(newCertificate) // for all of them together
	for _, key := range keys {
		waitUntil(t, time.Until(end), "certificate "+want+" on "+key, func() (bool, string) {
			got, err := s.served(t, key, ask)
			return err == nil && got == want, fmt.Sprint(got, " ", err)
		})
	}
	for _, key := range keys {
		for range 3 {
			if got, err := s.served(t, key, ask); err != nil || got != want {
				t.Errorf("%s serves %s (%v) after it has served %s", key, got, err, want)
			}
		}
	}
}

// certShown is what `cert show --format json` says of interest here.
type certShown struct {
	Mode        string             `json:"mode"`
	Certificate certs.Certificate  `json:"certificate"`
	Twin        *certs.Certificate `json:"twin"`
	Pending     *certs.Certificate `json:"pending"`
	Authority   *certs.Certificate `json:"authority"`
	Extra       []certs.ExtraState `json:"extra"`
	Warnings    []string           `json:"warnings"`
}

func (s *Stack) certificate(t *testing.T) certShown {
	t.Helper()
	r := s.run(t, "cert", "show", "--format", "json") // its status tells of problems
	return decode[certShown](t, r.stdout)
}

// idlers are IMAP sessions that wait for mail, as telephones do.
type idlers struct {
	clients  []*imapclient.Client
	commands []*imapclient.IdleCommand
}

// idle opens sessions, up to ten for each account.
func (s *Stack) idle(t *testing.T, n int) *idlers {
	t.Helper()
	var i idlers
	var user, password string
	for len(i.clients) < n {
		if len(i.clients)%10 == 0 {
			user, password = s.account(t)
		}
		c := s.imap(t, user, password)
		if _, err := c.Select("INBOX", nil).Wait(); err != nil {
			t.Fatal(err)
		}
		command, err := c.Idle()
		if err != nil {
			t.Fatal(err)
		}
		i.clients, i.commands = append(i.clients, c), append(i.commands, command)
	}
	return &i
}

// live says whether every session still waits, and goes on waiting.
func (i *idlers) live(t *testing.T) {
	t.Helper()
	for n, c := range i.clients {
		err := i.commands[n].Close()
		if err == nil {
			err = i.commands[n].Wait()
		}
		if err == nil {
			err = c.Noop().Wait()
		}
		if err == nil {
			i.commands[n], err = c.Idle()
		}
		if err != nil {
			t.Fatalf("session %d of %d has ended: %v", n+1, len(i.clients), err)
		}
	}
}

// started is when each container was, so that one that was replaced or
// restarted is seen.
func (s *Stack) started(t *testing.T) string {
	t.Helper()
	return docker(t, "inspect", "--format", "{{.Name}} {{.Id}} {{.State.StartedAt}}", s.container("dovecot"), s.container("postfix"))
}

// watcher is a `mailstack maintain --watch`.
type watcher struct {
	pebble.Output
	cmd  *exec.Cmd
	done chan error
}

// watch starts one that ends with the test at the latest.
func (s *Stack) watch(t *testing.T) *watcher {
	t.Helper()
	w := &watcher{done: make(chan error, 1)}
	w.cmd = exec.CommandContext(t.Context(), os.Getenv(binaryVar), "--config", s.config(), "maintain", "--watch")
	w.cmd.Stdout, w.cmd.Stderr = w, w
	w.cmd.WaitDelay = 10 * time.Second
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { w.done <- w.cmd.Wait() }()
	return w
}

// says waits until the watcher has said something.
func (w *watcher) says(t *testing.T, words string) {
	t.Helper()
	waitUntil(t, 20*time.Second, "the watcher's word", func() (bool, string) {
		said := w.String()
		return strings.Contains(said, words), said
	})
}

// end asks the watcher to end.
func (w *watcher) end(t *testing.T) {
	t.Helper()
	if err := w.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := <-w.done; err != nil {
		t.Errorf("asked to end, it ended with %v:\n%s", err, w)
	}
}

// pemPair are the files of a certificate and its key below a stack's directory.
func (s *Stack) pemPair() (cert, key string) {
	return filepath.Join(s.dir, "cert.pem"), filepath.Join(s.dir, "key.pem")
}
