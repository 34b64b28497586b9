package probe

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// full is a report with every kind of content, as a run makes it.
func full(t *testing.T) Report {
	t.Helper()
	limit, err := ParseLimit("imap=~:2")
	must(t, err)
	o := Options{Warning: []Limit{limit}}.withDefaults()
	target := &Target{Password: "p"}
	refused := errors.Join(&Failure{Kind: KindRefused, Addr: "127.0.0.1:993", Step: "connect"}, &Failure{Kind: KindRefused, Addr: "[::1]:993", Step: "connect"})
	results := []Result{
		outcome{name: "imap", finished: finished{nil, 3e6}, steps: []Step{
			{Name: "login", Address: "127.0.0.1:143", Duration: 2e6, Done: true}, {Name: "login", Address: "[::1]:143", Duration: 1e6, Done: true},
		}}.result(target, o),
		outcome{name: "imaps", finished: finished{refused, 1e6}}.result(target, o),
		outcome{name: "cert.imaps", findings: findings{values: []Value{
			{Name: "left", Unit: "%", Amount: 52.5, Warning: AtLeast(32.22), Critical: AtLeast(16.67), Text: "47.2 of 90.0 days left"},
			{Name: "expiry", Unit: "timestamp", Amount: 1.7e9},
		}}}.result(target, o),
		outcome{name: "disk", findings: findings{values: []Value{
			{Name: "free", Label: "mysql+vmail", Unit: "%", Amount: 50, Warning: AtLeast(10), Critical: AtLeast(5)},
		}}}.result(target, o),
		outcome{name: "queue", findings: findings{notes: []string{"a | b"}, values: []Value{
			{Name: "messages", Amount: 101, Warning: AtMost(100), Critical: AtMost(1000), Text: "101 messages"},
		}}}.result(target, o),
		newResult("pop3", failf(KindNotRun, "off"), nil, 0),
	}
	return newReport("home", results, 1500*time.Millisecond)
}

func TestNagiosForm(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	must(t, full(t).WriteNagios(&b))
	want := `MAILSTACK CRITICAL - imaps: 127.0.0.1:993 and [::1]:993: connect: connection refused (of 6 checks 3 passed, 1 failed, 1 warned, 1 not known, in 1.5 s) | ` +
		`'time'=1.5s;;;0 'imap'=0.003s;~:2;;0 'imaps'=0.001s;;;0 'cert.imaps'=0s;;;0 'cert.imaps_left'=52.5%;32.22:;16.67:;0;100 ` +
		`'disk'=0s;;;0 'disk_free_mysql+vmail'=50%;10:;5:;0;100 'queue'=0s;;;0 'queue_messages'=101;100;1000;0
[OK] imap 0.003 s
[CRITICAL] imaps 0.001 s: 127.0.0.1:993 and [::1]:993: connect: connection refused
  hint: nothing listens there: see which service is down with ` + "`mailstack status`, start it with `mailstack up`" + `
[OK] cert.imaps 0.000 s
[OK] disk 0.000 s
[WARNING] queue 0.000 s: past the warning limit: 101 messages (101, limit 100)
  hint: read ` + "`mailstack logs`" + `
  a / b
[UNKNOWN] pop3 0.000 s: not run: off
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
}

// TestNagiosGrammar: whatever servers say, there is one bar, and behind it is
// performance data that every reader understands.
func TestNagiosGrammar(t *testing.T) {
	t.Parallel()
	datum := regexp.MustCompile(`^'[^'=|]+'=-?[0-9]+(\.[0-9]+)?(s|%|B|c)?(;[^;]*){0,4}$`)
	evil := newReport("x", []Result{
		outcome{name: "imap", finished: finished{err: failf(KindAnswer, "a|b 'c'=1;2\nd")}, findings: findings{
			values: []Value{{Name: "free", Label: "a='b'", Unit: "%", Amount: -3}},
		}}.result(&Target{}, Options{}.withDefaults()),
	}, time.Second)
	for _, r := range []Report{full(t), evil} {
		var b strings.Builder
		must(t, r.WriteNagios(&b))
		first, rest, _ := strings.Cut(b.String(), "\n")
		text, data, ok := strings.Cut(first, " | ")
		if !ok || strings.Contains(text+data+rest, "|") || !strings.HasPrefix(text, "MAILSTACK CRITICAL - ") {
			t.Errorf("output %q", b.String())
		}
		for _, d := range strings.Split(data, " ") {
			if !datum.MatchString(d) {
				t.Errorf("performance data %q", d)
			}
		}
	}
	long := newReport("x", []Result{newResult("imap", failf(KindAnswer, "%s", strings.Repeat("é", maxDetail)), nil, 0)}, time.Second)
	var b strings.Builder
	must(t, long.WriteNagios(&b))
	text, rest, _ := strings.Cut(b.String(), " | ")
	if n := utf8.RuneCountInString(text); n > 300 || !strings.Contains(text, "é… (of 1 checks") || !strings.Contains(rest, strings.Repeat("é", maxDetail)) {
		t.Errorf("status line of %d characters: %s", n, b.String())
	}
	b.Reset()
	must(t, NagiosUnknown(&b, "no|t\nmore\n"))
	if b.String() != "MAILSTACK UNKNOWN - no/t\nmore\n" {
		t.Errorf("unknown: %q", b.String())
	}
	b.Reset()
	must(t, newReport("x", []Result{newResult("imap", nil, nil, 0)}, time.Second).WriteNagios(&b))
	if want := "MAILSTACK OK - all 1 checks passed in 1.0 s | 'time'=1s;;;0\n"; !strings.HasPrefix(b.String(), want) {
		t.Errorf("%q", b.String())
	}
}

// TestHintsAreGivenOnce: in the forms for people. Programs get each check whole.
func TestHintsAreGivenOnce(t *testing.T) {
	t.Parallel()
	r := newReport("x", []Result{
		newResult("imap", failf(KindRefused, ""), nil, 0), newResult("pop3", failf(KindRefused, ""), nil, 0),
		newResult("queue", failf(KindLost, ""), nil, 0), newResult("smtp", failf(KindRefused, ""), nil, 0),
	}, 0)
	var text, plugin strings.Builder
	must(t, r.WriteText(&text, TextOptions{}))
	must(t, r.WriteNagios(&plugin))
	data, err := json.Marshal(r)
	must(t, err)
	for form, want := range map[string]int{text.String(): 2, plugin.String(): 2} {
		if n := strings.Count(form, "hint: "); n != want {
			t.Errorf("%d hints, want %d:\n%s", n, want, form)
		}
	}
	if n := strings.Count(string(data), `"hint":"nothing listens`); n != 3 {
		t.Errorf("%d of 3 checks have their hint in %s", n, data)
	}
}

func TestPrometheusForm(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	must(t, Metrics{full(t), time.UnixMilli(1_700_000_000_500)}.WriteText(&b))
	for _, want := range []string{
		"# TYPE mailstack_probe_success gauge", `mailstack_probe_success{stack="home"} 0`, `mailstack_probe_status{stack="home"} 2`,
		`mailstack_probe_check_success{check="imap",stack="home"} 1`, `mailstack_probe_check_success{check="imaps",stack="home"} 0`,
		`mailstack_probe_check_success{check="queue",stack="home"} 1`,
		`mailstack_probe_step_duration_seconds{check="imap",stack="home",step="login"} 0.002`,
		`mailstack_probe_certificate_left_ratio{check="cert.imaps",stack="home"} 0.525`,
		`mailstack_probe_certificate_expiry_timestamp_seconds{check="cert.imaps",stack="home"} 1.7e+09`,
		`mailstack_probe_disk_free_ratio{stack="home",volumes="mysql+vmail"} 0.5`, `mailstack_probe_queue_messages{stack="home"} 101`,
		`mailstack_probe_last_run_timestamp_seconds{stack="home"} 1.7000000005e+09`,
	} {
		if !strings.Contains(b.String(), want+"\n") {
			t.Errorf("no %s in\n%s", want, b.String())
		}
	}
	if strings.Contains(b.String(), "127.0.0.1") {
		t.Error("an address is a label")
	}
	problems, err := testutil.CollectAndLint(Metrics{full(t), time.Now()})
	must(t, err)
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// TestSuccessBeforeTheFirstRun: the series that alerts look at are there, at 0.
func TestSuccessBeforeTheFirstRun(t *testing.T) {
	t.Parallel()
	target := newWorld(t).start("imap")
	var b strings.Builder
	must(t, Metrics{Report: Pending(target, Options{})}.WriteText(&b))
	for _, want := range []string{`mailstack_probe_success{stack="test"} 0`, `mailstack_probe_check_success{check="imap",stack="test"} 0`} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %s in\n%s", want, b.String())
		}
	}
	if strings.Contains(b.String(), "seconds") {
		t.Errorf("a time before the first run:\n%s", b.String())
	}
	// Of a server whose name has not been looked up yet, too.
	target.Foreign, target.Addresses = true, nil
	b.Reset()
	must(t, Metrics{Report: Pending(target, Options{})}.WriteText(&b))
	for _, want := range []string{`check_success{check="imap",stack="test"} 0`, `check_success{check="dns",stack="test"} 0`} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %s in\n%s", want, b.String())
		}
	}
}

// TestSchema holds the JSON form against the schema that describes it.
func TestSchema(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("report.schema.json")
	must(t, err)
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	must(t, err)
	c := jsonschema.NewCompiler()
	must(t, c.AddResource("report.schema.json", doc))
	schema, err := c.Compile("report.schema.json")
	must(t, err)
	for _, r := range []Report{full(t), sample(), newReport("none", nil, 0)} {
		out, err := json.Marshal(r)
		must(t, err)
		report, err := jsonschema.UnmarshalJSON(bytes.NewReader(out))
		must(t, err)
		if err := schema.Validate(report); err != nil {
			t.Errorf("%s: %v", out, err)
		}
	}
	bad, err := jsonschema.UnmarshalJSON(strings.NewReader(`{"schema":1,"stack":"x","status":"fine","checks":[{}]}`))
	must(t, err)
	if schema.Validate(bad) == nil {
		t.Error("the schema takes anything")
	}
}

// TestKeptReport: what is read back says the same in every form.
func TestKeptReport(t *testing.T) {
	t.Parallel()
	want := full(t)
	data, err := json.Marshal(want)
	must(t, err)
	var got Report
	must(t, json.Unmarshal(data, &got))
	again, err := json.Marshal(got)
	must(t, err)
	if diff := cmp.Diff(string(data), string(again)); diff != "" {
		t.Error(diff)
	}
	var a, b strings.Builder
	must(t, want.WriteText(&a, TextOptions{}))
	must(t, got.WriteText(&b, TextOptions{}))
	cut := func(s string) string { return s[:strings.LastIndex(s, ", in")] }
	if diff := cmp.Diff(cut(a.String()), cut(b.String())); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(want.Checks[2].Values, got.Checks[2].Values, cmp.AllowUnexported(Range{}), cmpopts.IgnoreFields(Value{}, "Advice")); diff != "" {
		t.Error(diff)
	}
	for _, text := range []string{`{"schema":2}`, `{`, `{"schema":1,"checks":[{"values":[{"warning":"x"}]}]}`} {
		if json.Unmarshal([]byte(text), &got) == nil {
			t.Errorf("%s is read", text)
		}
	}
}
