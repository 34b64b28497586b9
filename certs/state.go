package certs

import (
	"crypto"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"slices"
	"strings"
	"syscall"
	"time"
)

// State is what there is of certificates on disk.
type State struct {
	Mode string `json:"mode"` // the [tls] mode they come from
	File string `json:"file"` // the file with keys and chains, there or not
	// Leaf is the certificate in File, nil where there is none that can be used;
	// Twin is the same for the same names with another kind of key, nil where
	// there is none.
	Leaf *Certificate `json:"certificate"`
	Twin *Certificate `json:"twin,omitempty"`
	// Extra are the certificates for further names.
	Extra []ExtraState `json:"extra,omitempty"`
	// StandIn says that Leaf is one of our own, for an authority elsewhere.
	StandIn bool `json:"stand_in,omitempty"`
	// Pending was made after Leaf, and not yet proven to be served.
	Pending *Certificate `json:"pending,omitempty"`
	// Keys are those of Leaf and Twin; NextKeys those that may follow them.
	Keys     []Pin `json:"keys"`
	NextKeys []Pin `json:"next_keys"`
	// NextMissing says that the keys that will follow are still to be made.
	NextMissing bool `json:"next_missing,omitempty"`
	// Authority is the local CA, nil where there is none; NextAuthority the one
	// that will follow it, nil while there is none.
	Authority     *Certificate `json:"authority"`
	NextAuthority *Certificate `json:"next_authority,omitempty"`
	// Problems is everything wrong with the files.
	Problems Problems `json:"problems,omitempty"`
	// Warnings are sentences about what works and could be better.
	Warnings []string `json:"warnings,omitempty"`
	// Renewed is why Renew changed something, "" where it left all alone.
	Renewed string `json:"renewed,omitempty"`

	due     string
	refused Problems
}

// ExtraState is a certificate for further names.
type ExtraState struct {
	File        string      `json:"file"`  // where the configuration has it
	Names       []string    `json:"names"` // that it is served for
	Certificate Certificate `json:"certificate"`
}

// Pin is the digest of a public key, what a TLSA record "3 1 1" holds.
type Pin struct {
	Kind   string `json:"kind"`   // of the key: "ecdsa", "rsa", "ed25519"
	SHA256 string `json:"sha256"` // of its SubjectPublicKeyInfo, lower-case hexadecimal
}

// served fills in what a set holds.
func (s *State) served(set *Set) {
	leaf := set.Main[0].Leaf()
	s.Leaf = &leaf
	if len(set.Main) > 1 {
		twin := set.Main[1].Leaf()
		s.Twin = &twin
	}
	for _, pair := range set.Main {
		s.Keys = append(s.Keys, newPin(pair.Key.Public()))
	}
	for _, e := range set.Extra {
		s.Extra = append(s.Extra, ExtraState{File: e.File, Names: e.Names, Certificate: e.Leaf()})
	}
}

// addNext notes a key that may be served next and is not served already.
func (s *State) addNext(public crypto.PublicKey) {
	if p := newPin(public); !slices.Contains(s.Keys, p) && !slices.Contains(s.NextKeys, p) {
		s.NextKeys = append(s.NextKeys, p)
	}
}

// problemsOf makes one problem of each complaint about a file.
func problemsOf(file string, complaints []string, advice string) Problems {
	problems := make(Problems, len(complaints))
	for i, complaint := range complaints {
		problems[i] = Problem{file, complaint, advice}
	}
	return problems
}

// asProblem turns an error about a file into a sentence with advice; a Problem
// keeps its own.
func asProblem(file string, err error, advice string) Problem {
	var problem Problem
	switch {
	case errors.As(err, &problem):
		if problem.Advice == "" {
			problem.Advice = advice
		}
		return problem
	case errors.Is(err, fs.ErrPermission):
		return Problem{file, "cannot be read without more rights", "Run the command as root."}
	}
	reason := err
	var errno syscall.Errno
	if errors.As(err, &errno) {
		reason = errno
	}
	return Problem{file, "cannot be read: " + reason.Error(), advice}
}

// Due says whether something must be made or served anew, and why.
func (s State) Due() (due bool, cause string) { return s.due != "", s.due }

// Refused is what keeps something from being renewed until a person mends it,
// nil where nothing does. What is served stays.
func (s State) Refused() error { return s.refused.Err() }

// due says why a certificate must be made anew for its time or its names. A
// third of its life is what the big ACME CA advises to leave, see
// https://letsencrypt.org/docs/integration-guide/ ("When to Renew"). A source
// that knows a better time is believed until half of that third is gone.
func due(leaf Certificate, wanted Names, status SourceStatus, now time.Time) string {
	stale := status.Stale
	left, life := leaf.NotAfter.Sub(now), leaf.NotAfter.Sub(leaf.NotBefore)
	names := namesChanged(leaf, wanted)
	switch {
	case now.After(leaf.NotAfter):
		return "the certificate ended on " + leaf.NotAfter.Format(time.DateOnly)
	case now.Before(leaf.NotBefore):
		return "the certificate begins on " + leaf.NotBefore.Format(time.DateTime) + " UTC, after this host's clock"
	case names != "" && stale != "": // most often: the CA cannot sign for the new names
		return names + "; " + stale
	case names != "":
		return names
	case stale != "":
		return stale
	case 3*left < life && (6*left < life || !now.Before(status.RenewAt)):
		return fmt.Sprintf("less than a third of its life is left (%d days)", int(math.Floor(left.Hours()/24)))
	}
	return ""
}

// namesChanged compares the names wanted with those in the certificate.
func namesChanged(leaf Certificate, names Names) string {
	wanted := names.list()
	var changes []string
	for _, name := range wanted {
		if !slices.Contains(leaf.Names, name) {
			changes = append(changes, name+" added")
		}
	}
	for _, name := range leaf.Names {
		if !slices.Contains(wanted, name) {
			changes = append(changes, name+" removed")
		}
	}
	if len(changes) == 0 {
		return ""
	}
	return "its names changed: " + strings.Join(changes, ", ")
}

// Usable says whether the certificate can be served: it is there, whole, and
// within its dates. It may be due all the same.
func (s State) Usable(now time.Time) bool {
	return s.Leaf != nil && !now.Before(s.Leaf.NotBefore) && !now.After(s.Leaf.NotAfter)
}

// Left is how long the certificate is still valid; negative after its end, 0
// where there is none.
func (s State) Left(now time.Time) time.Duration {
	if s.Leaf == nil {
		return 0
	}
	return s.Leaf.NotAfter.Sub(now)
}

// Days is Left in whole days, rounded down.
func (s State) Days(now time.Time) int {
	return int(math.Floor(s.Left(now).Hours() / 24))
}

// Share is Left as a share of the whole life, within 0 and 1.
func (s State) Share(now time.Time) float64 {
	if s.Leaf == nil {
		return 0
	}
	life := s.Leaf.NotAfter.Sub(s.Leaf.NotBefore)
	if life <= 0 {
		return 0
	}
	return min(1, max(0, float64(s.Left(now))/float64(life)))
}
