package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"mailstack/e2e/lab"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{
		{nil, 0},
		{[]float64{3}, 3},
		{[]float64{9, 1, 2}, 2},
		{[]float64{4, 1, 2, 9}, 3},
	} {
		if got := median(c.values); got != c.want {
			t.Errorf("median of %v is %v, want %v", c.values, got, c.want)
		}
	}
}

// TestInterleave: every contender once a round, each round from another one on,
// and the first round does not count.
func TestInterleave(t *testing.T) {
	var order strings.Builder
	say := func(name string) contender {
		return contender{name, "", timed(func(context.Context) error { order.WriteString(name); return nil })}
	}
	all, err := interleave(t.Context(), 2, []contender{say("a"), say("b"), say("c")})
	if err != nil {
		t.Fatal(err)
	}
	if got := order.String(); got != "abc"+"bca"+"cab" {
		t.Errorf("order %s", got)
	}
	for _, s := range all {
		if len(s.Values) != 2 {
			t.Errorf("%s has %d values", s.Name, len(s.Values))
		}
	}
	broken := errors.New("broken")
	_, err = interleave(t.Context(), 2, []contender{{"d", "", timed(func(context.Context) error { return broken })}})
	if !errors.Is(err, broken) || !strings.HasPrefix(err.Error(), "d: ") {
		t.Errorf("error %v", err)
	}
}

// TestMore: the difference is taken round by round.
func TestMore(t *testing.T) {
	got := more("both", series{Values: []float64{10, 30}}, series{Name: "with", Unit: "MB", Values: []float64{15, 32}})
	if want := (series{Figure: "both", Name: "with", Unit: "MB", Values: []float64{5, 2}}); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestReport(t *testing.T) {
	r := newResult("1.2")
	r.CPUs, r.Taken = 2, time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	r.add(suite{name: "probe", about: "one look"}, 3, []series{
		{"", "ours", "everything", "s", []float64{2, 1, 4}},
		{"", "theirs, longer", "less", "s", []float64{0.5, 0.25, 0.5}},
		{"logins", "bare", "", "1/s", []float64{10, 20, 40}},
		{"logins", "ours", "", "1/s", []float64{9, 18, 44}},
	})
	var text bytes.Buffer
	if err := r.writeText(&text); err != nil {
		t.Fatal(err)
	}
	const want = `mailstack 1.2, 2 processors, 2026-05-01T12:00:00Z

probe: one look; 3 rounds
                median      min     max     ratio
ours            2.000 s     1.000   4.000   1.00   everything
theirs, longer  0.500 s     0.250   0.500   0.25   less
logins
  bare          20.000 1/s  10.000  40.000  1.00
  ours          18.000 1/s  9.000   44.000  0.90
`
	if text.String() != want {
		t.Errorf("got\n%s\nwant\n%s", text.String(), want)
	}
	page := filepath.Join(t.TempDir(), "result.md")
	if err := r.writeMarkdown(page); err != nil {
		t.Fatal(err)
	}
	written, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"mailstack 1.2, 2 processors, 2026-05-01T12:00:00Z.",
		"|  | theirs, longer (less) | 0.5 s | 0.25 | 0.5 | 0.25 |",
		"| logins | bare | 20 1/s | 10 | 40 | 1.00 |",
		"|  | ours | 18 1/s | 9 | 44 | 0.90 |",
	} {
		if !strings.Contains(string(written), line) {
			t.Errorf("no %q in\n%s", line, written)
		}
	}
	path := filepath.Join(t.TempDir(), "result.json")
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
	if _, err := parse([]string{"-help"}, &stderr); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("-help: %v", err)
	}
	_, err := parse([]string{"-only", "probe,nosuch", "-rounds", "0", "more"}, &stderr)
	for _, word := range []string{`-only "nosuch": not one of logins,`, "-rounds 0", `got ["more"]`} {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%v does not say %s", err, word)
		}
	}
	o, err := parse(nil, &stderr)
	if err != nil || o.effort.rounds < 5 || o.effort.quick || len(o.only) != len(suites) {
		t.Errorf("by default %+v, %v", o, err)
	}
}

// TestHistory: the layers that two images share count once.
func TestHistory(t *testing.T) {
	const base = "\n73000000 2026-01-02 ADD rootfs"
	one, errOne := parseHistory("0 2026-02-01 CMD x\n2000000 2026-02-01 COPY a" + base)
	two, errTwo := parseHistory("4000000 2026-02-01 COPY a" + base)
	_, errText := parseHistory("4MB 2026-02-01 COPY a")
	if errOne != nil || errTwo != nil || errText == nil {
		t.Fatalf("errors %v, %v; of what is no number %v", errOne, errTwo, errText)
	}
	sum := 0.0
	for layer, size := range one {
		sum += size
		delete(two, layer)
	}
	for _, size := range two {
		sum += size
	}
	if sum != 73+2+4 {
		t.Errorf("together %v MB", sum)
	}
}

// TestSteps reads what README shows of up's progress.
func TestSteps(t *testing.T) {
	s := &stack{Stack: &lab.Stack{Name: "demo", Dir: "/tmp/x"}}
	got := s.steps("begin     stack demo\n✓  1/25  begin    stack demo  0.0 s\n✓  2/25  build    image mailstack/mysql:1a2b  12.5 s\n" +
		"✓  3/25  init     /tmp/x/data/queue  0.8 s\n✓ 24/25  create   container demo-postfix  0.3 s\ndemo is up (2.5 s)\n")
	want := []reading{
		{"step build image mailstack/mysql", "s", 12.5}, {"step init queue", "s", 0.8}, {"step create container postfix", "s", 0.3},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v", got)
	}
}

func TestRatio(t *testing.T) {
	if got := ratio([]float64{1, 20, 3}, []float64{2, 20, 4}); got != 0.75 {
		t.Errorf("of rounds: %v", got)
	}
	if got := ratio([]float64{3}, []float64{2, 2}); got != 1.5 {
		t.Errorf("of medians: %v", got)
	}
}

func TestCompose(t *testing.T) {
	var c inspected
	c.HostConfig.CapDrop = []string{"ALL"}
	service, err := composeService(c)
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(service)
	if err != nil || bytes.Contains(data, []byte("null")) {
		t.Errorf("Compose takes no null: %s (%v)", data, err)
	}
}
