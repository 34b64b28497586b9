package main

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-smtp"
)

// finding is a broken expectation.
type finding struct {
	Round int    `json:"round"`
	Fault string `json:"fault"`
	What  string `json:"what"`
	First string `json:"first"` // as it was seen first
	Count int    `json:"count"`
}

// findings collects what must never happen, and tallies every other answer that
// was not a success.
type findings struct {
	mu      sync.Mutex
	round   int
	fault   string
	all     []finding
	refused map[string]int // by answer, this round
	notes   []string       // this round
	muted   bool
}

func newFindings() *findings { return &findings{refused: map[string]int{}} }

// begin is for a new round.
func (f *findings) begin(round int, fault string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.round, f.fault, f.refused, f.notes = round, fault, map[string]int{}, nil
}

// add notes a broken expectation; the same one again is counted.
func (f *findings) add(what, format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.muted {
		return
	}
	for i := range f.all {
		if same := &f.all[i]; same.Round == f.round && same.What == what {
			same.Count++
			return
		}
	}
	f.all = append(f.all, finding{Round: f.round, Fault: f.fault, What: what, First: fmt.Sprintf(format, args...), Count: 1})
}

// note keeps what a fault did that its name does not say.
func (f *findings) note(text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.notes = append(f.notes, text)
}

// noted are the round's notes.
func (f *findings) noted() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.notes
}

// mute is for a time in which nobody could hear an answer: it is not judged.
func (f *findings) mute(muted bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.muted = muted
}

// of are a round's findings.
func (f *findings) of(round int) []finding {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []finding
	for _, one := range f.all {
		if one.Round == round {
			all = append(all, one)
		}
	}
	return all
}

// numbers are what differs between two answers that are the same.
var numbers = regexp.MustCompile(`[0-9A-Za-z]*[0-9][0-9A-Za-z]{3,}|[0-9:.-]{5,}`)

// tally counts an answer that is allowed.
func (f *findings) tally(what string, err error) {
	if err == nil {
		return
	}
	key := what + ": " + numbers.ReplaceAllString(strings.TrimSpace(err.Error()), "…")
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refused[key]++
}

// refusals are the answers of the round, the most frequent first.
func (f *findings) refusals(most int) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	keys := slices.SortedFunc(maps.Keys(f.refused), func(a, b string) int {
		return cmp.Or(f.refused[b]-f.refused[a], strings.Compare(a, b))
	})
	lines := []string{}
	for _, key := range keys[:min(most, len(keys))] {
		lines = append(lines, fmt.Sprintf("%4d x %s", f.refused[key], key))
	}
	return lines
}

// wrongPassword is how a server says in words what it has no code for, such as
// ManageSieve. A temporary failure is told as one.
var wrongPassword = regexp.MustCompile(`(?i)authentication failed|(wrong|invalid|incorrect) password`)

// judge looks at an answer to what is right: a valid recipient, a password that
// is good. A connection that ends or never begins is no verdict.
func (f *findings) judge(what string, err error) {
	f.tally(what, err)
	var s *smtp.SMTPError
	var i *imap.Error
	var p *pop3Error
	switch {
	case errors.As(err, &s) && s.Code == 535:
		f.add("right password refused", "%s: %v", what, err)
	case errors.As(err, &s) && s.Code >= 500:
		f.add("permanent failure", "%s: %d %v", what, s.Code, err)
	case errors.As(err, &i) && (i.Code == imap.ResponseCodeAuthenticationFailed || i.Code == imap.ResponseCodeAuthorizationFailed):
		f.add("right password refused", "%s: %v", what, err)
	case errors.As(err, &p) && strings.HasPrefix(p.answer, "-ERR [AUTH]"), err != nil && wrongPassword.MatchString(err.Error()):
		f.add("right password refused", "%s: %v", what, err)
	}
}
