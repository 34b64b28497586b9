package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-smtp"

	"mailstack/e2e/lab"
)

// board is an arena that has accounts and a ledger, and no server.
func board(t *testing.T) *arena {
	t.Helper()
	a := &arena{
		Stack: &lab.Stack{Version: "1.2"}, findings: newFindings(),
		plain: []string{"anna", "bert"}, readers: []string{"dora"}, sieved: "sieved", team: "team", sender: "sender",
	}
	var err error
	if a.ledger, err = openLedger(filepath.Join(t.TempDir(), "ledger")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.ledger.close() })
	return a
}

func (a *arena) acknowledge(t *testing.T, entries ...entry) {
	t.Helper()
	for _, e := range entries {
		if e.Letter != nil {
			a.ledger.try(*e.Letter)
		} else {
			a.ledger.tryChange(*e.Change)
		}
		if err := a.ledger.acknowledged(e); err != nil {
			t.Fatal(err)
		}
	}
}

func whats(all []finding) []string {
	var names []string
	for _, f := range all {
		names = append(names, fmt.Sprintf("%d %s", f.Count, f.What))
	}
	return names
}

// TestAudit: each way in which mailboxes may differ from the ledger is noticed,
// once, and what only may be so is not.
func TestAudit(t *testing.T) {
	a := board(t)
	inbox := func(account string) []place { return []place{{account, "INBOX"}} }
	to := func(id string, places []place) entry { return entry{Letter: &letter{id, 3, "sum", places}} }
	did := func(kind, id string, uid uint32) entry { return entry{Change: &change{3, kind, "dora", id, 1, uid}} }
	a.acknowledge(t,
		to("good", append(inbox("anna"), inbox("bert")...)), to("lost", inbox("anna")), to("twice", inbox("anna")), to("bad", inbox("anna")),
		to("elsewhere", inbox("anna")),
		to("m", inbox("dora")), did(moved, "m", 1), to("unmoved", inbox("dora")), did(moved, "unmoved", 2),
		to("d", inbox("dora")), did(deleted, "d", 3), to("undeleted", inbox("dora")), did(deleted, "undeleted", 4),
		to("f", inbox("dora")), did(flagged, "f", 5), to("unflagged", inbox("dora")), did(flagged, "unflagged", 6),
		to("maybe", inbox("dora")),
	)
	a.ledger.tryChange(change{3, deleted, "dora", "maybe", 1, 7})
	a.ledger.try(letter{"unanswered", 3, "sum", inbox("bert")})
	in := func(mailbox string, uid uint32) copyOf { return copyOf{mailbox, 1, uid, false, "sum"} }
	have := inventory{
		"anna": {
			"good": {in("INBOX", 1)}, "twice": {in("INBOX", 2), in("INBOX", 3)}, "bad": {{"INBOX", 1, 4, false, "other"}},
			"elsewhere": {in("Junk", 1)},
		},
		"bert": {"good": {in("INBOX", 1)}, "unanswered": {in("INBOX", 2)}},
		"dora": {
			"m": {in("Archive", 1)}, "unmoved": {in("INBOX", 2)}, "undeleted": {in("INBOX", 4)},
			"f": {{"INBOX", 1, 5, true, "sum"}}, "unflagged": {in("INBOX", 6)},
		},
	}
	u := newAuditor(a)
	got, err := u.audit(have, 3)
	if err != nil {
		t.Fatal(err)
	}
	if want := (audit{Acknowledged: 13, Found: 12, Lost: 1, Doubled: 1, Changes: 6, Undone: 3}); got != want {
		t.Errorf("audit %+v, want %+v", got, want)
	}
	want := []string{"1 lost", "1 damaged", "3 change undone", "1 misplaced"}
	if all := whats(a.findings.all); !slices.Equal(all, want) {
		t.Errorf("findings %v, want %v", all, want)
	}
	if missing, err := u.missing(have); err != nil || !slices.Equal(missing, []string{"lost in INBOX of anna"}) {
		t.Errorf("missing %v %v", missing, err)
	}
	again, err := u.audit(have, 4)
	if err != nil || again != (audit{}) {
		t.Errorf("the next round's audit counts %+v again (%v)", again, err)
	}
}

// TestJudge: what must never be said is told from what may be.
func TestJudge(t *testing.T) {
	f := newFindings()
	f.begin(1, "x")
	for _, err := range []error{
		nil, io.EOF, os.ErrDeadlineExceeded,
		&smtp.SMTPError{Code: 451}, &smtp.SMTPError{Code: 454}, &smtp.SMTPError{Code: 421},
		&imap.Error{Type: imap.StatusResponseTypeNo, Code: imap.ResponseCodeUnavailable}, &pop3Error{"-ERR [SYS/TEMP] later"},
	} {
		f.judge("a client", err)
	}
	if len(f.all) > 0 {
		t.Errorf("findings %+v", f.all)
	}
	for _, err := range []error{
		fmt.Errorf("RCPT: %w", &smtp.SMTPError{Code: 550}), &smtp.SMTPError{Code: 535},
		&imap.Error{Code: imap.ResponseCodeAuthenticationFailed}, &pop3Error{"-ERR [AUTH] no"},
	} {
		f.judge("a client", err)
	}
	if got, want := whats(f.of(1)), []string{"1 permanent failure", "3 right password refused"}; !slices.Equal(got, want) {
		t.Errorf("findings %v, want %v", got, want)
	}
}

// TestCompose: a seed is a load, and every recipient's mailbox is known.
func TestCompose(t *testing.T) {
	a := board(t)
	a.plain, a.readers = []string{"anna", "bert", "cleo"}, []string{"dora", "emil"}
	one, two := source(7, 1, 0), source(7, 1, 0)
	largest, aliased, filed, several := 0, 0, 0, 0
	for i := range 1000 {
		id := fmt.Sprint(i)
		m := a.compose(one, 1, id)
		if again := a.compose(two, 1, id); again.Sum != m.Sum || !slices.Equal(again.recipients, m.recipients) {
			t.Fatalf("%s: %v and %v", id, m.recipients, again.recipients)
		}
		largest = max(largest, len(m.data))
		for recipient, places := range m.places {
			if len(places) == 0 {
				t.Errorf("%s has no mailbox", recipient)
			}
		}
		switch {
		case m.recipients[0] == a.team:
			aliased++
		case m.To[0].Mailbox == "Filed":
			filed++
		case len(m.recipients) > 1:
			several++
		}
	}
	if largest < 2<<20 || largest > 21<<20 || aliased < 50 || filed < 50 || several < 50 {
		t.Errorf("largest %d, %d to an alias, %d filed, %d to several", largest, aliased, filed, several)
	}
}

// TestPairs: no pair has hold of the same thing twice, and all names are
// different.
func TestPairs(t *testing.T) {
	names := map[string]bool{}
	for _, f := range faults() {
		if names[f.name] || len(f.touches) == 0 || f.about == "" {
			t.Errorf("fault %+v", f)
		}
		names[f.name] = true
	}
	all := pairs(faults())
	if len(all) < 100 {
		t.Errorf("%d pairs", len(all))
	}
	for _, p := range all {
		for _, what := range p[0].touches {
			if slices.Contains(p[1].touches, what) {
				t.Errorf("%s both touch %s", nameOf(p), what)
			}
		}
	}
}

func TestReport(t *testing.T) {
	a := board(t)
	c := &campaign{arena: a, seed: 7}
	for i, name := range []string{"kill-x", "full-y", "kill-x"} {
		a.findings.begin(i+1, name)
		c.rounds = append(c.rounds, round{Number: i + 1, Fault: name, Green: float64(i), audit: audit{Acknowledged: 10, Found: 10 - i, Lost: i}})
	}
	a.findings.add("lost", "some of it")
	r := c.summarise(90 * time.Second)
	r.CPUs, r.Taken = 2, time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	var text bytes.Buffer
	if err := r.writeText(&text); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"mailstack 1.2, 2 processors, 2026-05-01T12:00:00Z, seed 7, 90 s",
		"kill-x 2 20 18 2 0 0 0 0.0 2.0 0.0 1", "full-y 1 10 9 1 0 0 0 0.0 1.0 0.0 0", "total 3 30 27 3 0 0 0 0.0 2.0 0.0 1",
		"round 3, kill-x: 1 x lost: some of it",
	} {
		if !strings.Contains(strings.Join(strings.Fields(text.String()), " "), line) {
			t.Errorf("no line %q in\n%s", line, text.String())
		}
	}
	path := filepath.Join(t.TempDir(), "chaos.json")
	if err := r.writeFile(path); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var back result
	if err := json.Unmarshal(data, &back); err != nil || !reflect.DeepEqual(back, *r) {
		t.Errorf("read back as %+v (%v)", back, err)
	}
}

func TestUsage(t *testing.T) {
	var stderr bytes.Buffer
	if _, err := parse([]string{"-list"}, &stderr); !errors.Is(err, flag.ErrHelp) || !strings.Contains(stderr.String(), "freeze-mysql") {
		t.Errorf("-list: %v, %s", err, stderr.String())
	}
	_, err := parse([]string{"-only", "kill-mysql,nosuch", "-runs", "0", "more"}, &stderr)
	for _, word := range []string{`"nosuch": no such fault`, "-runs 0", `got ["more"]`} {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%v does not say %s", err, word)
		}
	}
	o, err := parse([]string{"-short", "-seed", "7"}, &stderr)
	if err != nil || len(o.only) != 5 || len(o.only[4]) != 2 || o.seed != 7 {
		t.Errorf("-short: %+v, %v", o, err)
	}
	if o, err = parse(nil, &stderr); err != nil || o.seed == 0 || len(o.only) != 0 {
		t.Errorf("by default %+v, %v", o, err)
	}
}
