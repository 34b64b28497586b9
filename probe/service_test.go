package probe

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// allKeys are all listeners.
var allKeys = []string{"imap", "imaps", "pop3", "pop3s", "submission", "submissions", "smtp", "managesieve"}

// run runs checks and fails the test if they outlive their deadline.
func run(t *testing.T, target Target, o Options) Report {
	t.Helper()
	o = o.withDefaults()
	r := Run(context.Background(), target, o)
	// What is over is scheduling, on a machine that may be busy.
	if over := r.Duration - o.Timeout; over > 2*time.Second {
		t.Errorf("run took %s, %s past its deadline", r.Duration, over)
	}
	return r
}

// check runs one check and returns its result.
func check(t *testing.T, target Target, name string, timeout time.Duration) Result {
	t.Helper()
	r := run(t, target, Options{Only: []string{name}, Timeout: timeout})
	for _, c := range r.Checks {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("no result for %s in %+v", name, r.Checks)
	return Result{}
}

// wantFailure demands that a check failed in one way and in one step.
func wantFailure(t *testing.T, got Result, kind Kind, step string) {
	t.Helper()
	if len(got.Failures) == 0 {
		t.Fatalf("%s is %s, want %q in step %q", got.Name, got.Status, kind, step)
	}
	f := got.Failures[0]
	if f.Kind != kind || f.Step != step {
		t.Errorf("%s: got %q in step %q, want %q in step %q (%s)", got.Name, f.Kind, f.Step, kind, step, got.Reason)
	}
	if got.Status != kind.Status() {
		t.Errorf("%s is %s, want %s", got.Name, got.Status, kind.Status())
	}
}

func TestHealthyServerPasses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	target := w.start(allKeys...)
	target.Fingerprint = w.fingerprint()
	target.Database = func(context.Context) error { return nil }
	target.Sockets = []SocketCheck{{Consumer: "dovecot", Socket: "mysql/mysqld.sock", Look: func(context.Context) (SocketView, error) {
		return SocketView{Mount: "ro", Connect: "ok", Unlink: "EROFS"}, nil
	}}}
	r := run(t, target, Options{Timeout: 20 * time.Second, Slow: time.Minute, Late: time.Minute})
	var text strings.Builder
	must(t, r.WriteText(&text, TextOptions{Verbose: true}))
	if r.Status != OK {
		t.Fatalf("healthy server:\n%s", text.String())
	}
	if got, want := len(r.Checks), 2*len(allKeys)+5+2+1+1; got != want {
		t.Errorf("%d checks, want %d:\n%s", got, want, text.String())
	}
	if n := w.inbox(); n != 0 {
		t.Errorf("%d messages left behind", n)
	}
}

// TestEverySabotage breaks the dialogue of every protocol in every step.
func TestEverySabotage(t *testing.T) {
	t.Parallel()
	commands := map[string]map[string]string{ // listener -> step -> its command
		"imaps":       {"banner": "", "login": "LOGIN", "read": "STATUS", "quit": "LOGOUT"},
		"pop3s":       {"banner": "", "login": "PASS", "read": "STAT", "quit": "QUIT"},
		"submissions": {"banner": "", "login": "AUTH", "read": "NOOP", "quit": "QUIT"},
		"managesieve": {"tls": "", "login": "AUTHENTICATE", "read": "LISTSCRIPTS", "quit": "LOGOUT"},
	}
	for key, steps := range commands {
		for step, command := range steps {
			for how, kind := range ways {
				t.Run(fmt.Sprintf("%s/%s/%s", key, step, how), func(t *testing.T) {
					t.Parallel()
					w := newWorld(t)
					w.sabotage = &sabotage{after: command, how: how}
					wantFailure(t, check(t, w.start(key), key, patience(how)), kind, step)
				})
			}
		}
	}
}

// TestFloodIsBounded: a server that never stops answering is cut off.
func TestFloodIsBounded(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"imaps", "pop3s", "submissions", "managesieve"} {
		t.Run(key, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.sabotage = &sabotage{how: "flood"}
			r := check(t, w.start(key), key, 30*time.Second)
			if r.Status != Critical || r.Duration > 28*time.Second {
				t.Errorf("%s after %s: %s", r.Status, r.Duration, r.Reason)
			}
		})
	}
}

func TestConnectionFailures(t *testing.T) {
	t.Parallel()
	for _, key := range allKeys {
		t.Run(key, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.listener(key).Close()
			wantFailure(t, check(t, w.target, key, 10*time.Second), KindRefused, "connect")

			// Silent from the first byte: the listener's backlog takes the
			// connection and nobody reads it.
			w = newWorld(t)
			w.listener(key)
			step := "banner"
			if serviceOf(key).implicit {
				step = "tls"
			}
			wantFailure(t, check(t, w.target, key, patience("silent")), KindTimeout, step)

			// Taken and closed without a word: a published port that nobody
			// listens behind.
			w = newWorld(t)
			w.each(key, func(net.Conn) {})
			got := check(t, w.target, key, 10*time.Second)
			wantFailure(t, got, KindClosed, step)
			if !strings.Contains(got.Hint, "nobody listens behind it") {
				t.Errorf("hint %q", got.Hint)
			}
		})
	}
}

func TestTLSFailures(t *testing.T) {
	t.Parallel()
	other := newAuthority(t)
	for _, key := range allKeys {
		t.Run(key, func(t *testing.T) {
			t.Parallel()
			for name, c := range map[string]struct {
				spoil func(w *world)
				kind  Kind
				word  string // in the reason
			}{
				"foreign authority": {func(w *world) { w.serve(other.leaf(t, testHost, time.Hour)) }, KindTLS, "unknown authority"},
				"wrong name":        {func(w *world) { w.serve(w.ca.leaf(t, "other.test", time.Hour)) }, KindTLS, "other.test"},
				"expired":           {func(w *world) { w.serve(w.ca.leaf(t, testHost, -time.Hour)) }, KindTLS, "the certificate is valid from"},
			} {
				w := newWorld(t)
				c.spoil(w)
				got := check(t, w.start(key), key, 10*time.Second)
				wantFailure(t, got, c.kind, "tls")
				if !strings.Contains(got.Reason, c.word) {
					t.Errorf("%s: reason %q does not say %q", name, got.Reason, c.word)
				}
			}
			if !serviceOf(key).implicit {
				w := newWorld(t)
				w.noTLS = true
				wantFailure(t, check(t, w.start(key), key, 10*time.Second), KindTLS, "tls")
			}
		})
	}
}

func TestPlainServerOnTLSPort(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	target := w.start("pop3")
	target.Ports = map[string]uint16{"imaps": target.Ports["pop3"]}
	wantFailure(t, check(t, target, "imaps", 10*time.Second), KindTLS, "tls")
}

// TestInjectionBeforeTLS: bytes in the clear behind the agreement to STARTTLS
// must not be taken for encrypted ones.
func TestInjectionBeforeTLS(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.listen("pop3", func(conn net.Conn, _ bool) {
		s := w.newLineServer(conn, false)
		s.say("+OK ready")
		s.hear()
		s.say("+OK begin\r\n+OK injected")
		s.hear()
	})
	wantFailure(t, check(t, w.target, "pop3", 10*time.Second), KindTLS, "tls")
}

func TestWrongCredentialsAndBackendDown(t *testing.T) {
	t.Parallel()
	for _, key := range allKeys {
		if key == "smtp" {
			continue
		}
		t.Run(key, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			target := w.start(key)
			target.Password = "wrong"
			wantFailure(t, check(t, target, key, 10*time.Second), KindCredentials, "login")

			w = newWorld(t)
			w.backendDown = true
			wantFailure(t, check(t, w.start(key), key, 10*time.Second), KindBackend, "login")

			target.Password = ""
			got := check(t, target, key, 10*time.Second)
			wantFailure(t, got, KindNotRun, "")
		})
	}
}

// crowded is a session whose login is answered when one more is under way than
// there are places.
type crowded struct {
	session
	ctx   context.Context
	begun *atomic.Int32
	all   chan struct{}
}

func (c crowded) login(string, Secret) error {
	if c.begun.Add(1) == maxLogins+1 {
		close(c.all)
	}
	select {
	case <-c.all:
		return failf(KindCredentials, "no")
	case <-c.ctx.Done():
		return c.ctx.Err()
	}
}

// TestRefusedLoginsHoldUpNobody: a server holds each refusal back for seconds,
// and the next login has its turn before that.
func TestRefusedLoginsHoldUpNobody(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	slots := make(chan struct{}, maxLogins)
	s := crowded{ctx: ctx, begun: new(atomic.Int32), all: make(chan struct{})}
	var wg sync.WaitGroup
	for range maxLogins + 1 {
		wg.Go(func() {
			l := &link{session: s, tr: newTrace(), slots: slots}
			if err := l.authenticate(ctx, testUser, testPassword); !isKind(err, KindCredentials) {
				t.Errorf("login: %v", err)
			}
		})
	}
	wg.Wait()
	if len(slots) != 0 {
		t.Errorf("%d places are still taken", len(slots))
	}
}

func TestLateBannerIsAWarning(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.greetAfter = 300 * time.Millisecond
	target := w.start("pop3")
	r := run(t, target, Options{Only: []string{"pop3"}, Slow: 200 * time.Millisecond})
	wantFailure(t, r.Checks[0], KindSlow, "banner")
	if r.Status != Warning {
		t.Errorf("report is %s, want warning", r.Status)
	}
}

func TestEveryAddressIsVisited(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	target := w.start("pop3s")
	// 127.0.0.2 is this host too, and nobody listens there. The unspecified
	// address is dialled as loopback, which is on the list already.
	target.Addresses = []netip.Addr{
		netip.MustParseAddr("127.0.0.1"), netip.IPv4Unspecified(), netip.MustParseAddr("127.0.0.2"),
	}
	got := check(t, target, "pop3s", 10*time.Second)
	wantFailure(t, got, KindRefused, "connect")
	if len(got.Failures) != 1 || !strings.HasPrefix(got.Reason, "127.0.0.2:") {
		t.Errorf("reason %q, want one about 127.0.0.2", got.Reason)
	}
	quits := 0
	for _, s := range got.Steps {
		if s.Name == "quit" && s.Address == fmt.Sprintf("127.0.0.1:%d", target.Ports["pop3s"]) {
			quits++
		}
	}
	if quits != 1 {
		t.Errorf("127.0.0.1 was visited %d times: %+v", quits, got.Steps)
	}
}

func TestStepsOfAService(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	target := w.start("imap", "imaps")
	for key, want := range map[string]string{
		"imap":  "connect banner tls login read quit",
		"imaps": "connect tls banner login read quit",
	} {
		got := strings.Join(stepNames(check(t, target, key, 10*time.Second).Steps), " ")
		if got != want {
			t.Errorf("%s: steps %q, want %q", key, got, want)
		}
	}
}

// TestLoginMechanism: a server that has no AUTH PLAIN is logged in to by AUTH
// LOGIN, and its refusal is understood.
func TestLoginMechanism(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.onlyLogin = true
	target := w.start("submission", "submissions")
	for _, name := range []string{"submission", "submissions", "refusal.submission"} {
		if got := check(t, target, name, 10*time.Second); got.Status != OK {
			t.Errorf("%s: %s", name, got.Reason)
		}
	}
	target.Password = "wrong"
	wantFailure(t, check(t, target, "submissions", 10*time.Second), KindCredentials, "login")
}
