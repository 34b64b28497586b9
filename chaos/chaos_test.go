package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
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
	did := func(kind, id string, uid uint32) entry {
		return entry{Change: &change{3, kind, "dora", id, 1, uid, noon}}
	}
	a.acknowledge(t,
		to("good", append(inbox("anna"), inbox("bert")...)), to("lost", inbox("anna")), to("twice", inbox("anna")), to("bad", inbox("anna")),
		to("elsewhere", inbox("anna")), to("unseen", inbox("anna")),
		to("m", inbox("dora")), did(moved, "m", 1), to("unmoved", inbox("dora")), did(moved, "unmoved", 2),
		to("d", inbox("dora")), did(deleted, "d", 3), to("undeleted", inbox("dora")), did(deleted, "undeleted", 4),
		to("f", inbox("dora")), did(flagged, "f", 5), to("unflagged", inbox("dora")), did(flagged, "unflagged", 6),
		to("maybe", inbox("dora")),
	)
	a.ledger.tryChange(change{3, deleted, "dora", "maybe", 1, 7, noon})
	a.ledger.try(letter{"unanswered", 3, "sum", inbox("bert")})
	in := func(mailbox string, uid uint32) copyOf { return copyOf{mailbox, 1, uid, false, content{"sum", true}} }
	have := inventory{
		"anna": {
			"good": {in("INBOX", 1)}, "twice": {in("INBOX", 2), in("INBOX", 3)}, "bad": {{"INBOX", 1, 4, false, content{"other", true}}},
			"elsewhere": {in("Junk", 1)}, "unseen": {{"INBOX", 1, 9, false, content{"sum", false}}},
		},
		"bert": {"good": {in("INBOX", 1)}, "unanswered": {in("INBOX", 2)}},
		"dora": {
			"m": {in("Archive", 1)}, "unmoved": {in("INBOX", 2)}, "undeleted": {in("INBOX", 4)},
			"f": {{"INBOX", 1, 5, true, content{"sum", true}}}, "unflagged": {in("INBOX", 6)},
		},
	}
	u := newAuditor(a)
	got, err := u.audit(have, 3)
	if err != nil {
		t.Fatal(err)
	}
	if want := (audit{Acknowledged: 14, Found: 13, Lost: 1, Doubled: 1, Changes: 6, Undone: 3}); got != want {
		t.Errorf("audit %+v, want %+v", got, want)
	}
	want := []string{"1 lost", "1 damaged", "1 taken past the filter", "3 change undone", "1 misplaced"}
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
	have["anna"]["good"] = append(have["anna"]["good"], in("INBOX", 10))
	late, err := u.audit(have, 5)
	if all := whats(a.findings.all); err != nil || late != (audit{Doubled: 1}) || !slices.Contains(all, "1 doubled after its delivery") {
		t.Errorf("a second copy long after the first: %+v, findings %v (%v)", late, all, err)
	}
	have["dora"]["m"] = append(have["dora"]["m"], in("INBOX", 11))
	cut, err := u.audit(have, 6)
	if all := whats(a.findings.all); err != nil || cut != (audit{Doubled: 1}) || !slices.Contains(all, "1 doubled after its delivery") {
		t.Errorf("a second copy after a move: %+v, findings %v (%v)", cut, all, err)
	}
}

// noon is when changes of the tests were acknowledged.
var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// TestAuditAfterPowerCut: only what was done in the seconds before may be undone.
func TestAuditAfterPowerCut(t *testing.T) {
	for after, broken := range map[time.Duration]bool{3 * time.Second: false, unwritten + time.Second: true, -time.Second: true} {
		a := board(t)
		a.acknowledge(t,
			entry{Letter: &letter{"one", 1, "sum", []place{{"dora", "INBOX"}}}},
			entry{Change: &change{1, flagged, "dora", "one", 1, 1, noon}})
		u := newAuditor(a)
		u.powerCut(noon.Add(after))
		got, err := u.audit(inventory{"dora": {"one": {{"INBOX", 1, 1, false, content{"sum", true}}}}}, 1)
		if err != nil || got.Undone != 1 || len(a.findings.all) > 0 != broken {
			t.Errorf("undone by a power cut %v after it: %+v, findings %v (%v)", after, got, whats(a.findings.all), err)
		}
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
		errors.New(`ManageSieve: NO (TRYLATER) "Temporary authentication failure."`),
	} {
		f.judge("a client", err)
	}
	if len(f.all) > 0 {
		t.Errorf("findings %+v", f.all)
	}
	for _, err := range []error{
		fmt.Errorf("RCPT: %w", &smtp.SMTPError{Code: 550}), &smtp.SMTPError{Code: 535},
		&imap.Error{Code: imap.ResponseCodeAuthenticationFailed}, &pop3Error{"-ERR [AUTH] no"}, &pop3Error{"-ERR Authentication failed."},
		errors.New(`ManageSieve: NO "Authentication failed."`),
	} {
		f.judge("a client", err)
	}
	if got, want := whats(f.of(1)), []string{"1 permanent failure", "5 right password refused"}; !slices.Equal(got, want) {
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

// TestRestartOrders: of three services all orders are there, and of more those that
// have every service first once in either direction.
func TestRestartOrders(t *testing.T) {
	distinct := map[string]bool{}
	for _, order := range restartOrders([]string{"a", "b", "c"}) {
		distinct[fmt.Sprint(order)] = true
	}
	if len(distinct) != 6 {
		t.Errorf("orders of three: %v", distinct)
	}
	want := [][]string{
		{"a", "b", "c", "d"},
		{"d", "c", "b", "a"},
		{"b", "c", "d", "a"},
		{"c", "b", "a", "d"},
		{"c", "d", "a", "b"},
		{"b", "a", "d", "c"},
		{"d", "a", "b", "c"},
		{"a", "d", "c", "b"},
	}
	if got := restartOrders([]string{"a", "b", "c", "d"}); !reflect.DeepEqual(got, want) {
		t.Errorf("orders of four: %v", got)
	}
}

// TestEveryOrder: -orders has each order of the services once.
func TestEveryOrder(t *testing.T) {
	o, err := parse([]string{"-orders"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	want := 1
	for i := range services {
		want *= i + 1
	}
	sorted := slices.Sorted(slices.Values(services))
	distinct := map[string]bool{}
	for i, circle := range circles(services) {
		if name := nameOf(o.turns()[i]); name != "orders-"+initials(circle) {
			t.Errorf("circle %v is run as %s", circle, name)
		}
		for _, order := range begunAtEach(circle) {
			distinct[initials(order)] = true
			if !slices.Equal(slices.Sorted(slices.Values(order)), sorted) {
				t.Errorf("order %v", order)
			}
		}
	}
	if len(distinct) != want || len(o.turns()) != want/len(services) {
		t.Errorf("%d orders in %d rounds, want %d", len(distinct), len(o.turns()), want)
	}
}

// TestTurns: a ground's rounds are together, every fault comes alone, and each
// ground has pairs.
func TestTurns(t *testing.T) {
	var grounds []ground
	alone, paired := map[string]int{}, map[ground]int{}
	for _, turn := range (options{runs: 2, seed: 7}).turns() {
		on := groundOf(turn)
		if len(grounds) == 0 || grounds[len(grounds)-1] != on {
			grounds = append(grounds, on)
		}
		if len(turn) == 1 {
			alone[turn[0].name]++
		} else {
			paired[on]++
		}
	}
	if want := []ground{oneDisk, ownEngine, disks}; !slices.Equal(grounds, want) {
		t.Errorf("grounds %q, want %q", grounds, want)
	}
	for _, f := range faults() {
		want := 2
		if f.on == oneDisk {
			want += powerCuts - 1
		}
		if alone[f.name] != want {
			t.Errorf("%s comes %d times", f.name, alone[f.name])
		}
	}
	if n := 2 * len(engineFaults()); paired[ownEngine] != n || paired[disks] < 100 {
		t.Errorf("pairs %v, want %d on an engine", paired, n)
	}
}

func TestReport(t *testing.T) {
	a := board(t)
	c := &campaign{arena: a, seed: 7}
	for i, name := range []string{"kill-x", "full-y", "kill-x", "kill-x + full-y", "full-y + kill-z"} {
		a.findings.begin(i+1, name)
		c.rounds = append(c.rounds, round{Number: i + 1, Fault: name, Green: float64(i), Calm: 0.5, audit: audit{Acknowledged: 10, Found: 10 - i, Lost: i}})
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
		"kill-x 2 20 18 2 0 0 0 0.0 2.0 0.0 0.5 0", "full-y 1 10 9 1 0 0 0 0.0 1.0 0.0 0.5 0",
		"two at a time 2 20 13 7 0 0 0 0.0 4.0 0.0 0.5 1", "total 5 50 40 10 0 0 0 0.0 4.0 0.0 0.5 1",
		"round 5, full-y + kill-z: 1 x lost: some of it",
	} {
		if !strings.Contains(strings.Join(strings.Fields(text.String()), " "), line) {
			t.Errorf("no line %q in\n%s", line, text.String())
		}
	}
	path := filepath.Join(t.TempDir(), "chaos.json")
	if err := lab.WriteFile(path, r); err != nil {
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
	if err != nil || len(o.only) != 10 || len(o.only[9]) != 2 || o.seed != 7 {
		t.Errorf("-short: %+v, %v", o, err)
	}
	if o, err = parse(nil, &stderr); err != nil || o.seed == 0 || len(o.only) != 0 {
		t.Errorf("by default %+v, %v", o, err)
	}
}

// TestBodyCutShort: what a server sent of a body before it hung up is not taken
// for the body.
func TestBodyCutShort(t *testing.T) {
	client, server := net.Pipe()
	go func() {
		defer server.Close()
		lines := bufio.NewScanner(server)
		fmt.Fprint(server, "* OK [CAPABILITY IMAP4rev1] ready\r\n")
		for lines.Scan() {
			if strings.Contains(lines.Text(), "FETCH") {
				fmt.Fprint(server, "* 1 FETCH (UID 7 BODY[TEXT] {16}\r\nhalf of")
				return
			}
		}
	}()
	c := imapclient.New(client, nil)
	defer c.Close()
	u := newAuditor(board(t))
	err := u.readContent(c, imap.UIDSetNum(7), func(imap.UID) string { return "key" })
	if err == nil || !strings.Contains(err.Error(), "7 of 16 octets") {
		t.Errorf("a body that was cut short: %v", err)
	}
	if read, ok := u.read["key"]; ok {
		t.Errorf("it has a sum: %v", read)
	}
}
