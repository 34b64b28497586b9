package migrate

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
)

// TestLogin: what the server says otherwise than the files is named, folder by
// folder.
func TestLogin(t *testing.T) {
	const address = "alice@example.org"
	right := map[string]FolderState{
		"INBOX":        {Messages: 6, Unseen: 1, UIDNext: 9, UIDValidity: 1555555555, Octets: 19 + 20 + 21 + 22 + 23 + 24},
		"Sent":         {Messages: 1, UIDNext: 2, UIDValidity: 1555555556, Octets: 23},
		"Archive/2019": {UIDNext: 1, UIDValidity: 1},
		"Entwürfe":     {Messages: 1, UIDNext: 2, UIDValidity: 1, Octets: 24},
	}
	for _, test := range []struct {
		name   string
		change func(states map[string]FolderState)
		drop   [2]int64 // POP3: messages, octets
		err    error
		want   []string
	}{
		{"right", func(map[string]FolderState) {}, [2]int64{6, 129}, nil, nil},
		{"folder unknown", func(s map[string]FolderState) { delete(s, "Sent") }, [2]int64{6, 129}, nil, []string{`does not know folder "Sent"`}},
		{"messages", func(s map[string]FolderState) { set(s, "INBOX", func(f *FolderState) { f.Messages++ }) }, [2]int64{6, 129}, nil, []string{"INBOX: the server says messages 7, the files 6"}},
		{"unseen", func(s map[string]FolderState) { set(s, "Sent", func(f *FolderState) { f.Unseen++ }) }, [2]int64{6, 129}, nil, []string{"unseen 1, the files 0"}},
		{"UIDVALIDITY", func(s map[string]FolderState) { set(s, "Sent", func(f *FolderState) { f.UIDValidity++ }) }, [2]int64{6, 129}, nil, []string{"UIDVALIDITY 1555555557, the files 1555555556"}},
		{"UIDNEXT", func(s map[string]FolderState) { set(s, "INBOX", func(f *FolderState) { f.UIDNext++ }) }, [2]int64{6, 129}, nil, []string{"UIDNEXT 10, the files 9"}},
		{"octets", func(s map[string]FolderState) { set(s, "Entwürfe", func(f *FolderState) { f.Octets++ }) }, [2]int64{6, 129}, nil, []string{"octets 25, the files 24"}},
		{"octets not said", func(s map[string]FolderState) { set(s, "Entwürfe", func(f *FolderState) { f.Octets = -1 }) }, [2]int64{6, 129}, nil, nil},
		{"what only the server knows", func(s map[string]FolderState) {
			set(s, "Entwürfe", func(f *FolderState) { f.UIDValidity, f.UIDNext = 77, 88 })
		}, [2]int64{6, 129}, nil, nil},
		{"POP3 messages", func(map[string]FolderState) {}, [2]int64{5, 129}, nil, []string{"POP3: the server says messages 5, the files 6"}},
		{"POP3 octets", func(map[string]FolderState) {}, [2]int64{6, 130}, nil, []string{"POP3: the server says octets 130, the files 129"}},
		{"no login", func(map[string]FolderState) {}, [2]int64{}, errors.New("refused"), []string{"IMAP: refused", "POP3: refused"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			b := w.box(address, Store{})
			b.fill()
			b.message(".odd\n/cur/1", 1)
			m := w.open()
			r, err := m.Pass(t.Context(), true)
			if err != nil {
				t.Fatal(err)
			}
			states := map[string]FolderState{}
			for name, s := range right {
				states[name] = s
			}
			test.change(states)
			var asked []string
			logins := Logins{
				Folders: func(_ context.Context, who string, names []string) (map[string]FolderState, error) {
					asked = append(names, who)
					return states, test.err
				},
				Maildrop: func(context.Context, string) (int, int64, error) { return int(test.drop[0]), test.drop[1], test.err },
			}
			if err := m.Login(t.Context(), r, logins); err != nil {
				t.Fatal(err)
			}
			if want := []string{"INBOX", "Archive/2019", "Entwürfe", "Sent", address}; !slices.Equal(asked, want) {
				t.Errorf("asked %q, want %q", asked, want)
			}
			got := r.Mailboxes[0].Login
			m.Close()
			asked = nil
			alone, err := CheckLogin(t.Context(), w.opts.To, address, logins)
			if err != nil || !slices.Equal(alone, got) || len(asked) == 0 {
				t.Errorf("without a migration: %q, %v; want %q", alone, err, got)
			}
			if len(got) != len(test.want) || r.OK() != (len(test.want) == 0) {
				t.Fatalf("%q, want %q; OK is %v", got, test.want, r.OK())
			}
			for i := range got {
				if !strings.Contains(got[i], test.want[i]) {
					t.Errorf("%q, want %q", got[i], test.want[i])
				}
			}
		})
	}
}

func set(states map[string]FolderState, name string, change func(*FolderState)) {
	s := states[name]
	change(&s)
	states[name] = s
}

// TestForecast: after a pass it is known how long the last one would take.
func TestForecast(t *testing.T) {
	w := newWorld(t)
	b := w.box("alice@example.org", Store{})
	b.fill()
	m := w.open()
	f, err := m.Forecast(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if f.Known || f.Pending.Messages != 8 || f.Downtime <= 0 {
		t.Errorf("before any pass: %+v", f)
	}
	if _, err := m.Pass(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	b.message("new/9.M1P1.old", 9)
	if f, err = m.Forecast(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !f.Known || f.Pending.Messages != 1 || f.Downtime <= 0 || len(f.Problems) != 0 {
		t.Errorf("after a pass: %+v", f)
	}
	b.remove("")
	if f, err = m.Forecast(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(f.Problems) != 1 || f.Problems[0].Address != "alice@example.org" || !strings.Contains(f.Problems[0].Problem, "its mail was copied before") {
		t.Errorf("with what the last pass would not bring: %+v", f)
	}
}

// TestProgress: the phases come in order, each is told to its end, and what is
// copied adds up.
func TestProgress(t *testing.T) {
	w := newWorld(t)
	b := w.box("alice@example.org", Store{})
	b.fill()
	var events recorded
	w.opts.Progress = &events
	r := w.pass(true)
	var phases []Phase
	for _, e := range events {
		if e.Ended {
			phases = append(phases, e.Phase)
		}
		if e.Phase == Copying && e.Ended && (e.Done != r.Copied || e.Done != e.Total) {
			t.Errorf("copied %v of %v, in the report %v", e.Done, e.Total, r.Copied)
		}
	}
	if want := []Phase{Scanning, Copying, Placing, Verifying}; !slices.Equal(phases, want) || len(r.Phases) != len(want) {
		t.Errorf("phases %v, in the report %v, want %v", phases, r.Phases, want)
	}
}

type recorded []Event

func (r *recorded) Report(e Event) { *r = append(*r, e) }
