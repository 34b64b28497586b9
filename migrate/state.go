package migrate

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"
)

// state is what is remembered of a volume's migrations between two runs, in
// state.json beside the mirrors.
type state struct {
	ID    string    `json:"id"`
	Began time.Time `json:"began"`
	// Passes are by the old server, the latest last.
	Passes map[string][]passRecord `json:"passes"`
	// Placed are the accounts with a copy here whose migration has not ended.
	Placed map[string][]string `json:"placed,omitempty"`
	// Held are the accounts that wait here because of the old server, and Aliases
	// those that were made because of it, with their targets.
	Held    map[string][]string            `json:"held,omitempty"`
	Aliases map[string]map[string][]string `json:"aliases,omitempty"`
	// Opened are the accounts whose move has ended, and Carried what was delivered
	// from the queue of the old server, both by that.
	Opened  map[string][]string `json:"opened,omitempty"`
	Carried map[string]carried  `json:"carried,omitempty"`
}

// passRecord is a pass that came to its end.
type passRecord struct {
	Began  time.Time `json:"began"`
	Final  bool      `json:"final"`
	Total  Amount    `json:"total"`
	Copied Amount    `json:"copied"`
	Phases []Took    `json:"phases"`
}

// Took is how long a phase took.
type Took struct {
	Phase   Phase   `json:"phase"`
	Seconds float64 `json:"seconds"`
}

func (r passRecord) seconds(phase Phase) float64 {
	for _, t := range r.Phases {
		if t.Phase == phase {
			return t.Seconds
		}
	}
	return 0
}

const (
	stateName = "state.json"
	maxState  = 64 << 20
	maxPasses = 100 // remembered of each old server
)

func newState(id string, began time.Time) *state {
	return &state{
		ID: id, Began: began, Passes: map[string][]passRecord{},
		Placed: map[string][]string{}, Opened: map[string][]string{}, Carried: map[string]carried{},
		Held: map[string][]string{}, Aliases: map[string]map[string][]string{},
	}
}

// readState reads the state, or makes a new one.
func readState(work *dir, now time.Time) (*state, error) {
	data, err := newTree(work).read(stateName, maxState)
	if errors.Is(err, fs.ErrNotExist) {
		return newState(rand.Text(), now.UTC()), nil
	}
	if err != nil {
		return nil, err
	}
	s := newState("", time.Time{})
	if err := json.Unmarshal(data, s); err != nil || s.ID == "" {
		return nil, fmt.Errorf("read %s: it is not what mailstack wrote (%v)", work.name(stateName), err)
	}
	return s, nil
}

func (s *state) write(work *dir, now time.Time) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	// It is on the disk before it takes the place of the last one: an empty one
	// after a power cut would be worse than an old one.
	const fresh = stateName + ".new"
	if err := work.write(fresh, bytes.NewReader(append(data, '\n')), owner{-1, -1}, now); err != nil {
		return err
	}
	f, err := work.open(fresh)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	return work.rename(fresh, work, stateName)
}

// note remembers a pass.
func (s *state) note(target string, r passRecord) {
	passes := append(s.Passes[target], r)
	s.Passes[target] = passes[max(0, len(passes)-maxPasses):]
}

// took says how long the latest pass took in the end, if that is when it began.
func (s *state) took(target string, began time.Time, phases []Took) {
	if passes := s.Passes[target]; len(passes) > 0 && passes[len(passes)-1].Began.Equal(began) {
		passes[len(passes)-1].Phases = phases
	}
}
