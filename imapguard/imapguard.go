// Package imapguard keeps from the library of IMAP what it cannot bear. Its
// reader takes a parenthesis for the space before it, so that a list of
// capabilities with one in it is read for ever, in a goroutine that no closed
// connection ends (imapclient/capability.go of go-imap v2.0.0-beta.8).
package imapguard

import (
	"bytes"
	"errors"
	"regexp"
	"strconv"
	"sync"
)

// ErrParenthesis is what a connection ends with that would have been read for
// ever.
var ErrParenthesis = errors.New("a parenthesis in a list of capabilities")

// Guard watches the lines of one connection. It is for imapclient.Options's
// DebugWriter: where Write returns an error the library reads the same error, and
// nothing of what was written. What the client says may come between.
type Guard struct {
	// Close ends the connection. The library outlives one error of a read, and
	// would wait for the rest of an answer that has been read already.
	Close func() error

	mu   sync.Mutex
	line []byte // as far as it has come, at most keptLine
	end  []byte // its last keptEnd octets so far
	skip uint64 // octets of a literal that are still to come
	bad  bool   // for good
}

// keptLine is how much of a line is looked at. Capabilities come first.
const keptLine = 64 << 10

// keptEnd is more than the head of a literal has.
const keptEnd = 32

// A response with capabilities, as data or as the code of a status.
var parenthesis = regexp.MustCompile(`(?i)^\S+ +(?:\S+ +\[)?CAPABILITY[^\r\n\]]*\(`)

// A literal's head ends its line (RFC 9051, section 4.3).
var literal = regexp.MustCompile(`\{([0-9]{1,19})\+?\}\r?$`)

// Write looks at what was said.
func (g *Guard) Write(said []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for rest := said; len(rest) > 0 && !g.bad; {
		if g.skip > 0 {
			n := min(g.skip, uint64(len(rest)))
			g.skip, rest = g.skip-n, rest[n:]
			continue
		}
		line, after, ended := bytes.Cut(rest, []byte{'\n'})
		g.line = append(g.line, line[:min(len(line), keptLine-len(g.line))]...)
		g.end = append(g.end, line[max(0, len(line)-keptEnd):]...)
		g.end = g.end[max(0, len(g.end)-keptEnd):]
		if bytes.IndexByte(line, '(') >= 0 && parenthesis.Match(g.line) {
			g.bad = true
			_ = g.Close()
			break
		}
		if rest = after; !ended {
			continue
		}
		if head := literal.FindSubmatch(g.end); head != nil {
			g.skip, _ = strconv.ParseUint(string(head[1]), 10, 64) // the digits are few enough
		}
		g.line, g.end = g.line[:0], g.end[:0]
	}
	if g.bad {
		return 0, ErrParenthesis
	}
	return len(said), nil
}
