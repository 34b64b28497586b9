package certs

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Store is a directory of certificates, and what must be in it.
type Store struct {
	Dir    string
	Source Source
	Names  Names
	// Key is the kind of the keys that are made, "ecdsa" (also when empty) or
	// "rsa"; Twin has a second certificate with an RSA key beside an ECDSA one.
	// Another wish makes nothing due: the next keys are made by it, so that their
	// TLSA records can be published, and the next renewal takes them.
	Key   string
	Twin  bool
	Reuse bool     // a renewal keeps the key
	Extra []string // absolute paths of the certificates for further names, see [ReadFiles]
}

// selfSigned and byFiles are the [tls] modes of the sources made here. A set that
// says nothing of its mode is from before there were others than the first.
const (
	selfSigned = "self-signed"
	byFiles    = "files"
)

// kinds are the kinds of the main certificates' keys, in order.
func (s Store) kinds() []string {
	switch {
	case s.Key == "rsa":
		return []string{"rsa"}
	case s.Twin:
		return []string{"ecdsa", "rsa"}
	}
	return []string{"ecdsa"}
}

// reading is what a store has at one moment, and what it wants.
type reading struct {
	served  *Set // proven, or nothing to compare with; nil: none that can be used
	pending *Set // made since, and not proven yet
	current *Set // the newer of the two: what a renewal begins with
	next    []crypto.Signer

	status  SourceStatus // of current
	cause   string       // why a main certificate must be obtained; "": it need not
	ahead   string       // why the next keys must be made; "": they are there
	extra   []Extra      // what is wanted of them, less what is refused
	damage  Problems     // of files that a renewal makes again
	refused Problems     // of files that are for a person to mend, the source's not included
	useless []string     // warnings about extra
}

// Inspect reads what there is. The error is about the names alone: whatever is
// wrong with the files is in State.Problems.
func (s Store) Inspect(now time.Time) (State, error) {
	if err := s.Names.check(); err != nil {
		return State{}, err
	}
	return s.read(now).state(s), nil
}

func (s Store) read(now time.Time) *reading {
	r := &reading{}
	s.readSets(r)
	s.judge(r, r.served, now)
	if r.pending != nil {
		served := *r
		s.judge(r, r.pending, now)
		if r.cause != "" && served.cause == "" {
			// Somebody went back to what is served anyway.
			*r = served
			r.pending = nil
		}
	}
	s.readExtra(r, now)
	if r.current != nil {
		r.ahead = s.lacksNext(r)
		for _, e := range r.extra {
			if !slices.ContainsFunc(r.wanted(r.current.Main, "").Extra, func(w Extra) bool { return w.File == e.File }) {
				r.useless = append(r.useless, e.File+" is of no use: other certificates have all of its names")
			}
		}
	}
	return r
}

// readSets reads what is served, and what waits for it.
func (s Store) readSets(r *reading) {
	d, err := openDirectory(s.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		r.damage = Problems{asProblem(s.Dir, err, "")}
		return
	}
	defer d.close()
	r.served, r.damage = readSet(d, ServerFile)
	r.pending, _ = readSet(d, PendingFile) // a bad one is made again
	r.next, _ = readNext(d)                // the same
}

// judge makes a set the current one, and says why it must be made anew.
func (s Store) judge(r *reading, set *Set, now time.Time) {
	r.current = set
	var leaf *x509.Certificate
	if set != nil {
		leaf = set.leaf()
	}
	r.status = s.Source.Status(s.Names, leaf, now)
	switch {
	case set == r.served && len(r.damage) > 0:
		r.cause = r.damage.Error()
	case set == nil:
		r.cause = "there is no certificate yet"
	case r.status.Own:
		r.cause = s.dueBrought(set, r.status)
	default:
		r.cause = s.dueMade(set, r.status, now)
		if set.mode != r.status.Mode {
			r.cause = fmt.Sprintf("it is of the mode %q, and %q is wanted", set.mode, r.status.Mode)
		}
	}
}

// dueBrought says why a set is not what its source brings.
func (s Store) dueBrought(set *Set, status SourceStatus) string {
	switch {
	case len(status.Problems) > 0:
		return "" // refused
	case set.mode != status.Mode:
		return fmt.Sprintf("it is of the mode %q, and %q is wanted", set.mode, status.Mode)
	case !slices.EqualFunc(set.Main, status.Brought, Pair.equal):
		return "there is another one in the file"
	}
	return ""
}

// dueMade says why a set of certificates that are made for their time must be
// made anew.
func (s Store) dueMade(set *Set, status SourceStatus, now time.Time) string {
	for _, pair := range set.Main {
		if cause := due(describe(pair.Chain[0]), s.Names, status, now); cause != "" {
			return cause
		}
	}
	return ""
}

// readExtra reads the certificates of further names. One that is refused leaves
// the one that was taken from the same file before.
func (s Store) readExtra(r *reading, now time.Time) {
	for _, file := range s.Extra {
		pairs, problems := ReadFiles(file, "", nil, now)
		if len(pairs) > 1 {
			problems = Problems{{file, "holds more than one private key, and one can be served for further names", filesAdvice}}
		}
		r.refused = append(r.refused, problems...)
		switch {
		case len(problems) == 0:
			r.extra = append(r.extra, Extra{Pair: pairs[0], File: file})
		case r.current != nil:
			for _, e := range r.current.Extra {
				if e.File == file {
					r.extra = append(r.extra, e)
				}
			}
		}
	}
}

// wanted is the set that should be served: the main certificates as given, and
// the further ones.
func (r *reading) wanted(main []Pair, mode string) *Set {
	set := &Set{Main: main, Extra: slices.Clone(r.extra), mode: mode}
	set.share()
	// A certificate without a name left is never asked for.
	set.Extra = slices.DeleteFunc(set.Extra, func(e Extra) bool { return len(e.Names) == 0 })
	return set
}

// due says why Renew would change something.
func (r *reading) due() string {
	switch {
	case r.cause != "" && (r.current == nil || len(r.status.Problems) == 0):
		return r.cause
	case r.current == r.pending && r.pending != nil:
		return "a new one is not served yet"
	}
	if wanted := r.wanted(r.current.Main, r.current.mode); !wanted.equal(r.current) {
		return "the certificates for further names changed: " + extraChanges(r.current.Extra, wanted.Extra)
	}
	return r.ahead
}

// extraChanges names what differs.
func extraChanges(old, wanted []Extra) string {
	var changes []string
	for _, e := range wanted {
		i := slices.IndexFunc(old, func(o Extra) bool { return o.File == e.File })
		switch {
		case i < 0:
			changes = append(changes, e.File+" added")
		case !old[i].Pair.equal(e.Pair):
			changes = append(changes, e.File+" changed")
		}
	}
	for _, o := range old {
		if !slices.ContainsFunc(wanted, func(e Extra) bool { return o.File == e.File }) {
			changes = append(changes, o.File+" removed")
		}
	}
	if len(changes) == 0 {
		return "their order"
	}
	return strings.Join(changes, ", ")
}

// state is what people and programs are told.
func (r *reading) state(s Store) State {
	state := State{
		Mode: r.status.Mode, File: filepath.Join(s.Dir, ServerFile), Warnings: slices.Concat(r.status.Warnings, r.useless),
		Authority: r.status.Authority, NextAuthority: r.status.NextAuthority,
		NextMissing: r.ahead != "",
		due:         r.due(), refused: slices.Concat(r.status.Problems, r.refused),
	}
	if change := s.keysChange(r); change != "" {
		state.Warnings = append(state.Warnings, change)
	}
	for _, problem := range slices.Concat(r.status.Problems, r.damage, r.refused) {
		if !slices.Contains(state.Problems, problem) { // several look at the directory
			state.Problems = append(state.Problems, problem)
		}
	}
	if r.served != nil {
		state.served(r.served)
		state.StandIn = r.served.mode == selfSigned && r.status.Mode != selfSigned && !r.status.Own
	}
	var next []Pair
	if r.pending != nil {
		leaf := r.pending.Main[0].Leaf()
		state.Pending, next = &leaf, r.pending.Main
	}
	for _, pair := range slices.Concat(next, r.status.Brought) {
		state.addNext(pair.Key.Public())
	}
	for _, key := range r.next {
		if !r.status.Own && slices.Contains(s.kinds(), keyKind(key.Public())) {
			state.addNext(key.Public())
		}
	}
	return state
}
