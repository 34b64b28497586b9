package certs

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// State is what there is of a certificate on disk.
type State struct {
	Mode string `json:"mode"` // the [tls] mode it comes from
	File string `json:"file"` // the file with key and chain, there or not
	// Leaf is the certificate in File, nil where there is none that can be used.
	Leaf *Certificate `json:"certificate"`
	// Authority is the local CA, nil where there is none.
	Authority *Certificate `json:"authority"`
	// Problems is everything wrong with the files.
	Problems Problems `json:"problems,omitempty"`
	// Renewed is why Renew made the certificate, "" where it left it alone.
	Renewed string `json:"renewed,omitempty"`

	wanted  Names
	leafBad Problems // those of Problems that a renewal mends
	blocked Problems // those that it does not
	stale   string
}

// Inspect reads what a local CA has in dir. The error is about the names alone:
// whatever is wrong with the files is in State.Problems.
func Inspect(dir string, names Names, now time.Time) (State, error) {
	return InspectFrom(LocalCA(dir), dir, names, now)
}

// InspectFrom is Inspect for any source.
func InspectFrom(source Source, dir string, names Names, now time.Time) (State, error) {
	if err := names.check(); err != nil {
		return State{}, err
	}
	state := State{File: filepath.Join(dir, ServerFile), wanted: names}
	leaf, problems := readLeaf(dir)
	if leaf != nil {
		description := describe(leaf)
		state.Leaf = &description
	}
	status := source.Status(names, leaf, now)
	state.Mode, state.Authority, state.stale = status.Mode, status.Authority, status.Stale
	state.leafBad, state.blocked = problems, status.Problems
	state.Problems = slices.Clone(status.Problems)
	for _, problem := range problems {
		if !slices.Contains(state.Problems, problem) { // both look at the directory
			state.Problems = append(state.Problems, problem)
		}
	}
	return state, nil
}

// content is the file of the certificate, provided it still is that one.
func (s State) content() ([]byte, error) {
	d, err := openDirectory(filepath.Dir(s.File))
	if err != nil {
		return nil, err
	}
	defer d.close()
	leaf, content, problems := readServer(d)
	if err := problems.err(); err != nil {
		return nil, err
	}
	if leaf == nil || fingerprint(leaf) != s.Leaf.Fingerprint {
		return nil, Problem{s.File, "changed while it was being installed", "Run the command again."}
	}
	return content, nil
}

const leafAdvice = "`mailstack cert renew` makes a new one."

// readLeaf reads the leaf in a directory's ServerFile; nil, nil where there is
// no such file.
func readLeaf(dir string) (*x509.Certificate, Problems) {
	d, err := openDirectory(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, Problems{asProblem(dir, err, "")}
	}
	defer d.close()
	leaf, _, problems := readServer(d)
	return leaf, problems
}

func readServer(d *directory) (*x509.Certificate, []byte, Problems) {
	content, err := d.read(ServerFile, true)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	file := d.file(ServerFile)
	if err != nil {
		return nil, nil, Problems{asProblem(file, err, leafAdvice)}
	}
	b, complaints := parseBundle(content)
	if len(complaints) == 0 {
		switch {
		case b.key == nil:
			complaints = append(complaints, "holds no private key")
		case len(b.certs) == 0:
			complaints = append(complaints, "holds no certificate")
		case !matches(b.key, b.certs[0]):
			complaints = append(complaints, "holds a private key that is not the one of its certificate")
		}
	}
	if len(complaints) > 0 {
		return nil, nil, problemsOf(file, complaints, leafAdvice)
	}
	return b.certs[0], content, nil
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

// Due says whether the certificate must be made anew, and why. A third of its
// life is what the big ACME CA advises to leave, see
// https://letsencrypt.org/docs/integration-guide/ ("When to Renew").
func (s State) Due(now time.Time) (due bool, cause string) {
	switch {
	case len(s.leafBad) > 0:
		return true, s.leafBad.Error()
	case s.Leaf == nil:
		return true, "there is no certificate yet"
	case now.After(s.Leaf.NotAfter):
		return true, "the certificate ended on " + s.Leaf.NotAfter.Format(time.DateOnly)
	case now.Before(s.Leaf.NotBefore):
		return true, "the certificate begins on " + s.Leaf.NotBefore.Format(time.DateTime) + " UTC, after this host's clock"
	case s.namesChanged() != "":
		return true, s.namesChanged()
	case s.stale != "":
		return true, s.stale
	case 3*s.Left(now) < s.life():
		return true, fmt.Sprintf("less than a third of its life is left (%d days)", s.Days(now))
	}
	return false, ""
}

// namesChanged compares the names wanted with those in the certificate.
func (s State) namesChanged() string {
	wanted := s.wanted.list()
	var changes []string
	for _, name := range wanted {
		if !slices.Contains(s.Leaf.Names, name) {
			changes = append(changes, name+" added")
		}
	}
	for _, name := range s.Leaf.Names {
		if !slices.Contains(wanted, name) {
			changes = append(changes, name+" removed")
		}
	}
	if len(changes) == 0 {
		return ""
	}
	cause := "its names changed: " + strings.Join(changes, ", ")
	if s.stale != "" { // most often: the CA cannot sign for the new names
		cause += "; " + s.stale
	}
	return cause
}

// Usable says whether the certificate can be served: it is there, whole, and
// within its dates. It may be due all the same.
func (s State) Usable(now time.Time) bool {
	return s.Leaf != nil && !now.Before(s.Leaf.NotBefore) && !now.After(s.Leaf.NotAfter)
}

func (s State) life() time.Duration { return s.Leaf.NotAfter.Sub(s.Leaf.NotBefore) }

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
	if s.Leaf == nil || s.life() <= 0 {
		return 0
	}
	return min(1, max(0, float64(s.Left(now))/float64(s.life())))
}

// AuthorityPEM is the certificate of the local CA in dir, for a trust store. It
// matches fs.ErrNotExist before the first Renew.
func AuthorityPEM(dir string) ([]byte, error) {
	d, err := openDirectory(dir)
	if err != nil {
		return nil, fmt.Errorf("read the CA's certificate: %w", err)
	}
	defer d.close()
	if _, err := d.read(AuthorityFile, false); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the CA's certificate: %w", err)
	}
	certificates, complaints := readCertificates(d, AuthorityFile)
	if len(complaints) > 0 {
		return nil, problemsOf(d.file(AuthorityFile), complaints, "`mailstack up` writes it again.")
	}
	return encodeCertificate(certificates[0]), nil
}
