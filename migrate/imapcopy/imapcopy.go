// Package imapcopy copies mailboxes from one IMAP server to another, for old
// servers that cannot be reached by ssh.
//
// It keeps no state of its own: what is missing is found by comparing the two
// mailboxes, so a copy can be interrupted anywhere and repeated at any time
// without making a message twice. Folders, dates, flags, keywords and
// subscriptions are kept. UIDs are not: IMAP gives a client no way to choose
// them, so mail programs download what they had once more.
package imapcopy

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"
)

// Server is an IMAP server to log in to.
type Server struct {
	// Address is "host:port".
	Address string
	// TLS of the connection, from the first byte on or after STARTTLS. It is
	// never left out: passwords travel over it.
	TLS      *tls.Config
	StartTLS bool
}

// Login is a mailbox on a server.
type Login struct {
	Server   Server
	User     string
	Password Secret
}

// Secret is a password, which does not print itself.
type Secret string

// String hides the password.
func (Secret) String() string { return "[redacted]" }

// GoString hides the password from %#v.
func (Secret) GoString() string { return "[redacted]" }

// MarshalText hides the password from JSON and its like.
func (Secret) MarshalText() ([]byte, error) { return []byte("[redacted]"), nil }

// User is one mailbox to copy.
type User struct {
	Name     string // for people: the address here
	From, To Login
}

// Options say how to copy.
type Options struct {
	// Remove deletes what is in the copy and no more in the original, for the
	// last pass. At most MaxRemove messages of a user: more is an error and
	// removes none. 0: a tenth of them and at least 100; negative: none.
	Remove    bool
	MaxRemove int
	// Sample is how many messages of each folder are read at both ends and
	// compared octet by octet; negative: all.
	Sample int
	// Silence is the longest that a server may say nothing; 0 means two minutes.
	Silence time.Duration
	// Progress is called with what was done, one call at a time for each user.
	// Nil: nobody looks.
	Progress func(Event)
}

// Event is progress of one user.
type Event struct {
	User     string
	Folder   string
	Messages int   // that are in the copy, of Total
	Bytes    int64 // of them
	Total    int
	// TotalBytes are what the old server says; not every server says it exactly.
	TotalBytes int64
}

// Result is what a copy did and how it ended.
type Result struct {
	User     string        `json:"user"`
	Folders  int           `json:"folders"`
	Messages int           `json:"messages"` // in the original
	Copied   int           `json:"copied"`
	Bytes    int64         `json:"bytes"` // copied
	Flagged  int           `json:"flagged"`
	Removed  int           `json:"removed"`
	Compared int           `json:"compared"` // octet by octet
	Took     time.Duration `json:"took_ns"`
	// Left are the things that could not be kept, one line each.
	Left []string `json:"left,omitempty"`
	// Different is what the comparison at the end found, one line each. Empty:
	// the copy is whole.
	Different []string `json:"different,omitempty"`
}

const defaultSilence = 2 * time.Minute

// Copy makes the mailbox of one user the same as the original, and compares
// the two at the end. A connection that breaks is an error; calling Copy again
// goes on where it broke. What does not fit at the destination stays an error
// that names the message.
func Copy(ctx context.Context, u User, o Options) (Result, error) {
	if o.Silence <= 0 {
		o.Silence = defaultSilence
	}
	if o.Progress == nil {
		o.Progress = func(Event) {}
	}
	began := time.Now()
	c := &copying{user: u, options: o, result: Result{User: u.Name}}
	err := c.run(ctx)
	c.result.Took = time.Since(began)
	if err != nil {
		return c.result, fmt.Errorf("copy mailbox %s: %w", u.Name, err)
	}
	return c.result, nil
}

// Count says what there is to copy, and changes nothing at either end.
func Count(ctx context.Context, u User) (Result, error) {
	c := &copying{user: u, options: Options{Progress: func(Event) {}}, result: Result{User: u.Name}}
	if err := c.survey(ctx); err != nil {
		return c.result, fmt.Errorf("count mailbox %s: %w", u.Name, err)
	}
	return c.result, nil
}
