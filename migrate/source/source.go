// Package source finds out what an old mail server is, who has mail there and
// where it lies: by ssh, without changing anything.
//
//	facts, err := source.Inspect(ctx, host, options)         // what it is
//	listing, err := source.ReadAccounts(ctx, dumper, facts)  // who has mail there
//	stores, err := source.Locate(ctx, host, facts, listing)  // where it lies
//	checks := source.Preflight(...)                          // whether it can be moved
//
// What comes from there is not to be trusted: an old server may have been broken
// into, and its users choose names. So output is limited in size, addresses
// are parsed by package accounts, paths are absolute and without "..", and
// nothing that is read becomes part of a command but as a quoted argument.
// What cannot be carried over is reported in migrate.Directory.Left, one line
// each, and keeps nothing else from being carried over.
package source

import (
	"crypto/rand"
	"strconv"
	"strings"

	"mailstack/migrate/remote"
)

// Bounds of what is taken from the old server.
const (
	// A part of the inspection: doveconf -n of a large site has some 30 kB.
	maxPart = 1 << 20
	// Lines of Directory.Left.
	maxLeft = 10000
)

// Options says what cannot be found out by looking.
type Options struct {
	// Container is the name of the one that Dovecot runs in. "": there is none, or
	// only one that looks like it.
	Container string
}

// problem is an error with advice.
type problem struct {
	text, advice string
}

func (p *problem) Error() string { return p.text }

// Hint says what to do.
func (p *problem) Hint() string { return p.advice }

// byIMAP is what to do where rsync cannot help.
const byIMAP = "copy by IMAP instead: mailstack migrate --imap-from imaps://HOST --users FILE"

// part is a part of a script's output.
type part struct {
	name string // the first word of its header
	args string // the rest of the line
	body string
}

// mark makes the word that begins a header. It is random, so that nothing that
// a script prints can pass for one.
func mark() string { return "mailstack-" + rand.Text() }

// split takes a script's output apart. ended says whether the last part is
// there: "end".
func split(out []byte, mark string) (parts []part, ended bool) {
	chunks := strings.Split("\n"+string(out), "\n"+mark+" ")
	for _, chunk := range chunks[1:] {
		header, body, _ := strings.Cut(chunk, "\n")
		name, args, _ := strings.Cut(header, " ")
		if name == "end" {
			return parts, true
		}
		parts = append(parts, part{name, args, body})
	}
	return parts, false
}

// clean makes a text from the old server fit to be shown: one line, printable,
// of limited length.
func clean(s string) string { return remote.Printable(s) }

// firstLine is clean for a text of which the first line says enough.
func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimLeft(s, "\r\n\t "), "\n")
	return clean(line)
}

// number reads one that is not negative; -1 if it is none.
func number(text string) int {
	n, err := strconv.ParseInt(text, 10, 33)
	if err != nil || n < 0 {
		return -1
	}
	return int(n)
}
