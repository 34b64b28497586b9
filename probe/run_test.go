package probe

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func socketTarget(view SocketView, err error) Target {
	return Target{Stack: "test", Sockets: []SocketCheck{{
		Consumer: "postfix", Socket: "dovecot/lmtp",
		Look: func(context.Context) (SocketView, error) { return view, err },
	}}}
}

func TestSockets(t *testing.T) {
	t.Parallel()
	good := SocketView{Mount: "ro", Connect: "ok", Unlink: "EROFS"}
	for _, c := range []struct {
		name  string
		view  SocketView
		err   error
		kind  Kind // 0: ok
		words string
	}{
		{"good", good, nil, 0, ""},
		{"writable", SocketView{Mount: "rw", Connect: "ok", Unlink: "ENOENT"}, nil, KindSocket, "mounted rw"},
		{"writable below a read-only mount", SocketView{Mount: "ro", Connect: "ok", Unlink: "ENOENT"}, nil, KindSocket, "ENOENT"},
		{"not mounted", SocketView{Mount: "none", Connect: "ENOENT", Unlink: "ENOENT"}, nil, KindSocket, "not mounted"},
		{"absent", SocketView{Mount: "ro", Connect: "ENOENT", Unlink: "EROFS"}, nil, KindSocket, "does not exist"},
		{"stale", SocketView{Mount: "ro", Connect: "ECONNREFUSED", Unlink: "EROFS"}, nil, KindSocket, "nobody listens"},
		{"stuck", SocketView{Mount: "ro", Connect: "EAGAIN", Unlink: "EROFS"}, nil, KindSocket, "queue of connections is full"},
		{"forbidden", SocketView{Mount: "ro", Connect: "EACCES", Unlink: "EROFS"}, nil, KindSocket, "may not connect"},
		{"odd", SocketView{Mount: "ro", Connect: "EIO", Unlink: "EROFS"}, nil, KindSocket, "EIO"},
		{"no container", SocketView{}, errors.New("container is not running"), KindNotRun, "not running"},
	} {
		got := check(t, socketTarget(c.view, c.err), "sockets.postfix.dovecot/lmtp", time.Second)
		if c.kind == 0 {
			if got.Status != OK {
				t.Errorf("%s: %s", c.name, got.Reason)
			}
			continue
		}
		wantFailure(t, got, c.kind, "look")
		if !strings.Contains(got.Reason, c.words) {
			t.Errorf("%s: reason %q does not say %q", c.name, got.Reason, c.words)
		}
	}
}

func TestDatabase(t *testing.T) {
	t.Parallel()
	down := Target{Database: func(context.Context) error { return errors.New("connect /x/mysqld.sock: refused") }}
	wantFailure(t, check(t, down, "mysql.query", time.Second), KindBackend, "query")
	forbidden := Target{Database: func(context.Context) error { return fmt.Errorf("read secret: %w", fs.ErrPermission) }}
	wantFailure(t, check(t, forbidden, "mysql.query", time.Second), KindNotRun, "query")
	slow := Target{Database: func(ctx context.Context) error {
		<-ctx.Done()
		return fmt.Errorf("query: %w", ctx.Err())
	}}
	wantFailure(t, check(t, slow, "mysql.query", 100*time.Millisecond), KindTimeout, "query")
}

// TestHangingCheckIsLeftBehind: even what ignores its context cannot hold up a
// run, and the report says where it hangs.
func TestHangingCheckIsLeftBehind(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	defer close(release)
	target := Target{Database: func(context.Context) error { <-release; return nil }}
	for range 3 {
		target.Sockets = append(target.Sockets, SocketCheck{Look: func(context.Context) (SocketView, error) {
			<-release
			return SocketView{}, nil
		}})
	}
	r := run(t, target, Options{Timeout: 200 * time.Millisecond})
	for i, c := range r.Checks {
		wantFailure(t, c, KindTimeout, []string{"query", "look", "look", "look"}[i])
		if len(c.Steps) != 1 || c.Steps[0].Done || c.Steps[0].Duration <= 0 {
			t.Errorf("%s: steps %+v", c.Name, c.Steps)
		}
	}
}

func TestInterruptedRun(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	target := Target{Database: func(ctx context.Context) error {
		cancel()
		<-ctx.Done()
		return ctx.Err()
	}}
	r := Run(ctx, target, Options{Timeout: time.Minute})
	wantFailure(t, r.Checks[0], KindInterrupted, "query")
	if r.Status != Unknown || r.Duration > 10*time.Second {
		t.Errorf("%s after %s", r.Status, r.Duration)
	}
}

func TestSelection(t *testing.T) {
	t.Parallel()
	target := Target{
		Addresses: newWorld(t).target.Addresses,
		Ports:     map[string]uint16{"imap": 1, "imaps": 1, "smtp": 1, "submission": 1, "pop3": 0},
		Sockets:   []SocketCheck{{Consumer: "dovecot", Socket: "mysql/mysqld.sock"}, {Consumer: "postfix", Socket: "mysql/mysqld.sock"}},
	}
	names := func(only ...string) string {
		var all []string
		for _, c := range selected(&target, only, nil) {
			all = append(all, c.Name)
		}
		return strings.Join(all, " ")
	}
	all := "imap imaps submission smtp refusal.imap refusal.submission refusal.smtp delivery.submission delivery.inbound " +
		"cert.imap cert.imaps cert.submission cert.smtp sockets.dovecot.mysql/mysqld.sock sockets.postfix.mysql/mysqld.sock"
	for only, want := range map[string]string{
		"":                 all,
		"imap":             "imap",
		"refusal":          "refusal.imap refusal.submission refusal.smtp",
		"refusal.*":        "refusal.imap refusal.submission refusal.smtp",
		"ima*":             "imap imaps",
		"sock*":            "sockets.dovecot.mysql/mysqld.sock sockets.postfix.mysql/mysqld.sock",
		"delivery.inbound": "delivery.inbound",
		"sockets.postfix":  "sockets.postfix.mysql/mysqld.sock",
		"pop3":             "",
	} {
		var list []string
		if only != "" {
			list = append(list, only)
		}
		if got := names(list...); got != want {
			t.Errorf("only %q: %q, want %q", only, got, want)
		}
		if err := CheckNames(list); err != nil {
			t.Errorf("only %q: %v", only, err)
		}
	}
	var unknown *NameError
	if err := CheckNames([]string{"imap", "imapz", "refus", "z*"}); !errors.As(err, &unknown) || len(unknown.Names) != 3 {
		t.Errorf("unknown names: %v", err)
	}
	// Asked for, and off: that is no success.
	r := run(t, target, Options{Only: []string{"pop3"}, Timeout: time.Second})
	wantFailure(t, r.Checks[0], KindNotRun, "")
	if r.Status != Unknown {
		t.Errorf("report is %s", r.Status)
	}
}

func TestSecretHidesItself(t *testing.T) {
	t.Parallel()
	target := Target{Password: testPassword}
	out, err := json.Marshal(target.Password)
	must(t, err)
	for _, text := range []string{
		fmt.Sprintf("%v %+v %#v %s %q %x", target.Password, target.Password, target.Password, target.Password, target.Password, target.Password),
		fmt.Sprintf("%v %+v %#v", target, target, target), string(out),
	} {
		if strings.Contains(text, testPassword) || strings.Contains(text, fmt.Sprintf("%x", testPassword)) {
			t.Errorf("password in %s", text)
		}
	}
}

// sample is a report with everything in it.
func sample() Report {
	refused := &Failure{Kind: KindRefused, Addr: "127.0.0.1:993", Step: "connect"}
	again := &Failure{Kind: KindRefused, Addr: "[::1]:993", Step: "connect"}
	return newReport("home", []Result{
		newResult("imap", nil, []Step{{Name: "connect", Address: "127.0.0.1:143", Duration: 1e6, Done: true}, {Name: "login", Address: "127.0.0.1:143", Duration: 2e6, Done: true}}, 3e6),
		newResult("imaps", errors.Join(refused, again), []Step{{Name: "connect", Address: "127.0.0.1:993", Duration: 1e6, Done: true}, {Name: "connect", Address: "[::1]:993", Duration: 1e6}}, 1e6),
		newResult("delivery.inbound", &Failure{Kind: KindLate, Step: "imap", Detail: "took 7.0 s"}, nil, 7e9),
		newResult("sockets.dovecot.mysql/mysqld.sock", failf(KindNotRun, "%s", printable("engine\x1b[2J away")), nil, 0),
	}, 7200*time.Millisecond)
}

func TestTextForm(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	must(t, sample().WriteText(&b, TextOptions{Verbose: true}))
	want := `✓ imap                                0.003 s
      connect   0.001 s
      login     0.002 s
✗ imaps                               0.001 s
    127.0.0.1:993 and [::1]:993: connect: connection refused
    hint: nothing listens there: see which service is down with ` + "`mailstack status`, start it with `mailstack up`" + `
      connect@127.0.0.1:993   0.001 s
      connect@[::1]:993       0.001 s  cut off
! delivery.inbound                    7.000 s
    imap: message late: took 7.0 s
    hint: the host is overloaded or a delivery was retried: read ` + "`mailstack logs postfix`" + `
? sockets.dovecot.mysql/mysqld.sock   0.000 s
    not run: engine.[2J away
of 4 checks 1 passed, 1 failed, 1 warned, 1 not known, in 7.2 s
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
}

func TestJSONForm(t *testing.T) {
	t.Parallel()
	got, err := json.MarshalIndent(sample(), "", " ")
	must(t, err)
	for _, want := range []string{
		`"schema": 1`, `"stack": "home"`, `"status": "critical"`, `"seconds": 0.003`, `"steps": []`, `"hint": ""`,
		`"name": "connect@[::1]:993"`, `"reason": "127.0.0.1:993 and [::1]:993: connect: connection refused"`,
	} {
		if !bytes.Contains(got, []byte(want)) {
			t.Errorf("no %s in %s", want, got)
		}
	}
	var keys struct {
		Schema int
		Stack  string
		Status Status
		Checks []struct {
			Name         string
			Status       Status
			Seconds      float64
			Reason, Hint string
			Steps        []struct {
				Name    string
				Seconds float64
			}
		}
	}
	d := json.NewDecoder(bytes.NewReader(got))
	d.DisallowUnknownFields()
	must(t, d.Decode(&keys))
	if keys.Checks[2].Status != Warning || keys.Checks[3].Status != Unknown {
		t.Errorf("read back %+v", keys)
	}
}

func TestEveryKindHasWords(t *testing.T) {
	t.Parallel()
	words := make(map[string]Kind)
	for k := KindRefused; k <= KindInterrupted; k++ {
		if k.String() == "" || k.Status() == OK {
			t.Errorf("kind %d has no words or no status", k)
		}
		if other, taken := words[k.String()]; taken {
			t.Errorf("kinds %d and %d have the same words", k, other)
		}
		words[k.String()] = k
	}
}

// TestWrongPasswordsGoFirst: what a server sits out on purpose has begun before
// any other check, so that all of those fit into that time.
func TestWrongPasswordsGoFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.greetAfter = 300 * time.Millisecond
	target := w.start("imaps", "pop3s", "submissions")
	began, others := time.Now(), time.Duration(0)
	target.Database = func(context.Context) error {
		others = time.Since(began)
		return nil
	}
	o := Options{Only: []string{"refusal", "mysql.query"}, Timeout: 20 * time.Second, headStart: 20 * time.Second}
	if r := run(t, target, o); r.Status != OK || others < w.greetAfter {
		t.Errorf("%s; another check began after %s, before the servers had greeted", r.Summary(), others)
	}
	// Nobody waits for a server that does not even greet.
	silent := newWorld(t)
	silent.listener("imaps")
	silent.target.Database = target.Database
	began = time.Now()
	o = Options{Only: []string{"refusal", "mysql.query"}, Timeout: 5 * time.Second}
	if run(t, silent.target, o); others > 3*time.Second {
		t.Errorf("another check began after %s", others)
	}
}
