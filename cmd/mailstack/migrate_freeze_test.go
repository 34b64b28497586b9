package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"mailstack/accounts"
	"mailstack/migrate"
	"mailstack/migrate/remote"
	"mailstack/migrate/source"
)

// asking is a migration that asks a person.
func asking(stdin io.Reader, facts source.Facts) (*rsyncMigration, *bytes.Buffer) {
	var said bytes.Buffer
	m := &rsyncMigration{app: &app{Stdin: stdin, Stderr: &said}, old: &oldHost{facts: &facts}}
	m.flags.rsync.from = "root@old.example.org"
	return m, &said
}

// TestAskToStop: only the word that was asked for is an answer.
func TestAskToStop(t *testing.T) {
	exim := source.Facts{MTA: source.MTA{Name: "Exim"}}
	for _, test := range []struct {
		input string
		facts source.Facts
		ok    bool
		says  string
	}{
		{"stopped\n", source.Facts{MTA: source.MTA{Name: "Postfix 3.7.11"}}, true, "\n    systemctl stop postfix dovecot\n"},
		{"\nyes\n stopped \n", exim, true, "\n    systemctl stop exim4 dovecot\n"},
		{"", source.Facts{}, false, "\n    systemctl stop dovecot\n"},
		{"yes\n", exim, false, `that was not "stopped"`},
		{
			"stopped\n",
			source.Facts{MTA: source.MTA{Name: "Postfix 3.5"}, Engine: "podman", Dovecot: source.Dovecot{Container: "mail"}},
			true,
			"\n    podman exec mail supervisorctl stop postfix dovecot\n",
		},
		{
			"stopped\n",
			source.Facts{Engine: "docker", Dovecot: source.Dovecot{Container: "club-dovecot"}, Containers: []source.Container{{
				Name: "club-dovecot", Labels: map[string]string{"mailstack.service": "dovecot", "mailstack.stack": "club"},
			}}},
			true,
			"what people read it with; ssh has to go on:\n\n    docker stop club-postfix club-dovecot\n",
		},
	} {
		m, said := asking(strings.NewReader(test.input), test.facts)
		err := m.askToStop(t.Context())
		if (err == nil) != test.ok || !strings.Contains(said.String(), test.says) || !strings.Contains(said.String(), "root@old.example.org") {
			t.Errorf("%q: %v\n%s", test.input, err, said)
		}
	}
}

// TestAskToStopInterrupted: Ctrl-C is an answer while it waits.
func TestAskToStopInterrupted(t *testing.T) {
	silent, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	m, _ := asking(silent, source.Facts{})
	if err := m.askToStop(ctx); err != context.Canceled {
		t.Errorf("got %v", err)
	}
}

// TestPrintCarried: what was carried over is named, and what is left, and what an
// old server that is started again would do.
func TestPrintCarried(t *testing.T) {
	var out strings.Builder
	printCarried(&out, &migrate.CarryReport{
		Carried: []migrate.Delivery{{ID: "AAAAA1", Sender: "x@y.example", Recipient: "bob@example.org", Bytes: 2048}, {ID: "AAAAA1", Sender: "x@y.example", Recipient: "al@example.org"}},
		Left:    []migrate.Delivery{{ID: "AAAAA2", Recipient: "e@lse.example\x1b", Why: "not ours"}, {ID: "AAAAA3", Recipient: "bob@example.org", Why: "no room", Failed: true}},
	})
	for _, want := range []string{
		"carried over from the queue there: AAAAA1, 2.0 KiB from <x@y.example> for bob@example.org\n", "left in the queue there: AAAAA2, ", "from <> for e@lse.example",
		"✗ left in the queue there: AAAAA3", "postsuper -d ID\n", "\n  (AAAAA1)\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "\x1b") {
		t.Errorf("it obeys the old server: %q", out.String())
	}
	out.Reset()
	printCarried(&out, &migrate.CarryReport{Left: []migrate.Delivery{{ID: "AAAAA2", Recipient: "x@y.example", Why: "not ours"}}})
	if strings.Contains(out.String(), "once more") {
		t.Errorf("nothing was carried over:\n%s", out.String())
	}
}

// TestQueueLine: elsewhere than in a terminal, a line is printed when something has
// changed.
func TestQueueLine(t *testing.T) {
	var out strings.Builder
	line := newQueueLine(&out, time.Now())
	line.show(2, 3, true)
	line.show(2, 3, true)
	line.show(0, 1, true)
	line.end()
	want := "the queue of the old server holds 2 messages for the accounts, 1 for others\nthe queue of the old server holds 0 messages for the accounts, 1 for others\n"
	if out.String() != want {
		t.Errorf("printed %q, want %q", out.String(), want)
	}
}

// lookedAt is a queue that is another one each time it is looked at, and stays the
// last one.
type lookedAt struct {
	queues []migrate.Queue
	err    error
	looks  int
}

func (l *lookedAt) List(context.Context) (migrate.Queue, error) {
	l.looks++
	if l.err != nil {
		return migrate.Queue{}, l.err
	}
	return l.queues[min(l.looks, len(l.queues))-1], nil
}

func (l *lookedAt) Content(context.Context, migrate.Queued) (io.ReadCloser, error) { panic("not read") }

// TestWaitForQueue: the last copy begins when nothing that waits there for the
// accounts can be delivered there any more.
func TestWaitForQueue(t *testing.T) {
	bob, err := accounts.ParseAccount("bob@example.org")
	if err != nil {
		t.Fatal(err)
	}
	queue := func(running bool, recipients ...string) migrate.Queue {
		q := migrate.Queue{Running: running}
		for _, r := range recipients {
			q.Messages = append(q.Messages, migrate.Queued{ID: "AAAAA1", Recipients: []string{r}})
		}
		return q
	}
	for _, test := range []struct {
		name  string
		queue *lookedAt
		wait  time.Duration
		looks int
		err   string
		says  string
	}{
		{"for others only", &lookedAt{queues: []migrate.Queue{queue(true, "x@elsewhere.example")}}, time.Minute, 1, "", "0 messages for the accounts, 1 for others"},
		{"empties", &lookedAt{queues: []migrate.Queue{queue(true, "Bob+x@example.org"), queue(true)}}, time.Minute, 2, "", "1 message for the accounts, 0 for others"},
		{"stopped", &lookedAt{queues: []migrate.Queue{queue(false, "bob@example.org")}}, time.Minute, 1, "", "carried over when the accounts are open"},
		{"stays", &lookedAt{queues: []migrate.Queue{queue(true, "bob@example.org", "bob@example.org")}}, 0, 1, "still holds 2 messages for the accounts being moved", ""},
		{"unread", &lookedAt{err: &remote.ExitError{Name: "script", Status: 69, Said: "fatal: no"}}, time.Minute, 1, "fatal: no", ""},
	} {
		m, said := asking(nil, source.Facts{MTA: source.MTA{Name: "Postfix 3.7.11", Delimiter: "+"}})
		m.queue, m.moving, m.cutOver, m.flags.rsync.queueWait = test.queue, []accounts.Address{bob}, &cutOver{began: time.Now()}, test.wait
		err := m.waitForQueue(t.Context())
		var advised interface{ Hint() string }
		if test.err == "" && err != nil || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err) || !errors.As(err, &advised)) {
			t.Errorf("%s: %v", test.name, err)
		}
		if test.queue.looks != test.looks || !strings.Contains(said.String(), test.says) {
			t.Errorf("%s: %d looks, want %d; it says %q", test.name, test.queue.looks, test.looks, said)
		}
	}
	m, said := asking(nil, source.Facts{MTA: source.MTA{Name: "Exim"}})
	if err := m.waitForQueue(t.Context()); err != nil || !strings.Contains(said.String(), "the queue of Exim is not looked at") {
		t.Errorf("Exim: %v; it says %q", err, said)
	}
}
