package probe

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestRanges holds the notation against the table in the plugin guidelines.
func TestRanges(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text   string
		alerts []float64
		quiet  []float64
	}{
		{"10", []float64{-0.1, 10.1}, []float64{0, 10}},
		{"10:", []float64{9.9, -5}, []float64{10, 1e9}},
		{"~:10", []float64{10.1}, []float64{-1e9, 10}},
		{"10:20", []float64{9.9, 20.1}, []float64{10, 20}},
		{"@10:20", []float64{10, 15, 20}, []float64{9.9, 20.1}},
		{"-3:-1.5", []float64{-4, 0}, []float64{-2}},
		{"@~:0", []float64{-1, 0}, []float64{0.1}},
		{"0", []float64{1, -1}, []float64{0}},
	} {
		r, err := ParseRange(c.text)
		must(t, err)
		if r.String() != c.text {
			t.Errorf("%q is written back as %q", c.text, r)
		}
		for _, x := range c.alerts {
			if !r.Alerts(x) {
				t.Errorf("%s: no alert at %g", c.text, x)
			}
		}
		for _, x := range c.quiet {
			if r.Alerts(x) {
				t.Errorf("%s: alert at %g", c.text, x)
			}
		}
	}
	for _, text := range []string{"", "@", "x", "1:x", "x:1", "20:10", "NaN", "inf:", "1:2:3", "1 ", "~"} {
		if r, err := ParseRange(text); err == nil {
			t.Errorf("%q is read as %q", text, r)
		}
	}
	if (Range{}).Alerts(1) || (Range{}).String() != "" {
		t.Error("no range alerts")
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	limits := func(texts ...string) (all []Limit) {
		for _, text := range texts {
			l, err := ParseLimit(text)
			must(t, err)
			all = append(all, l)
		}
		return all
	}
	if _, err := ParseLimit("imapz=5"); err == nil {
		t.Error("a limit for no check is taken")
	}
	o := Options{Warning: limits("1", "imap=3", "refusal=4", "refusal.imap=5", "queue=7"), Critical: limits("10", "queue=9")}
	queue := []Value{{Name: "messages", Amount: 8, Warning: AtMost(100), Text: "8 messages"}, {Name: "deferred", Amount: 99}}
	for _, c := range []struct {
		check   string
		seconds float64
		values  []Value
		kind    Kind
	}{
		{"pop3", 0.9, nil, 0},
		{"pop3", 2, nil, KindWarningLimit},
		{"pop3", 11, nil, KindCriticalLimit},
		{"imap", 2, nil, 0},
		{"refusal.pop3", 3.5, nil, 0},
		{"refusal.imap", 4.5, nil, 0},
		{"refusal.imap", 5.5, nil, KindWarningLimit},
		{"queue", 100, queue, KindWarningLimit},
	} {
		values, timed, err := o.judge(c.check, time.Duration(c.seconds*1e9), c.values)
		if got := failuresOf(err); c.kind == 0 && err != nil || c.kind != 0 && (len(got) != 1 || got[0].Kind != c.kind) {
			t.Errorf("%s at %g s: %v", c.check, c.seconds, err)
		}
		if (len(values) == 0) != timed.limited() {
			t.Errorf("%s: values %v and time %v", c.check, values, timed)
		}
	}
	// What is given comes before what stands in a file, even where that is more
	// precise.
	standing := limits("imap=1", "queue=1", "pop3=1")
	for i := range standing {
		standing[i].Standing = true
	}
	o.Warning = append(o.Warning[1:], standing...)
	for check, alert := range map[string]bool{"imap": false, "pop3": true, "imaps": false} {
		if _, _, err := o.judge(check, 2*time.Second, nil); (err != nil) != alert {
			t.Errorf("%s at 2 s: %v", check, err)
		}
	}
	o.Untimed = true
	if _, _, err := o.judge("pop3", time.Minute, nil); err != nil {
		t.Errorf("a time is judged: %v", err)
	}
	_, _, err := o.judge("queue", 0, queue)
	if want := "8 messages (8, limit 7)"; !strings.Contains(err.Error(), want) {
		t.Errorf("%v does not say %q", err, want)
	}
}

// TestLimitByPort: a certificate's limit can be named by the port's number, too.
func TestLimitByPort(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	target := w.start("imaps")
	limit, err := ParseLimit(fmt.Sprintf("cert.%d=99:", target.Ports["imaps"]))
	must(t, err)
	r := run(t, target, Options{Only: []string{"cert"}, Warning: []Limit{limit}})
	if r.Status != Warning || r.Checks[0].Failures[0].Kind != KindWarningLimit {
		t.Errorf("%s: %s", r.Status, r.Checks[0].Reason)
	}
}

// TestLimitReplacesSlow: who sets a limit for a check means that one only.
func TestLimitReplacesSlow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.greetAfter = 300e6
	limit, err := ParseLimit("pop3=60")
	must(t, err)
	r := run(t, w.start("pop3"), Options{Only: []string{"pop3"}, Slow: 200e6, Warning: []Limit{limit}})
	if r.Status != OK {
		t.Errorf("%s: %s", r.Status, r.Checks[0].Reason)
	}
}
