package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problems is all that is wrong with a file. It is the error of [Load] for a
// file that could be read and does not hold a configuration.
type Problems struct {
	Path string
	List []Problem // by line; never empty
}

// Problem is one thing that is wrong.
type Problem struct {
	Line    int    // from 1
	Key     string // dotted, "listen.imap"; empty: the file is not TOML
	Message string // what is wrong and what is allowed
}

// Error has one line for each problem.
func (p *Problems) Error() string {
	var b strings.Builder
	for i, problem := range p.List {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "%s:%d: ", p.Path, problem.Line)
		if problem.Key != "" {
			b.WriteString(problem.Key + ": ")
		}
		b.WriteString(problem.Message)
	}
	return b.String()
}

// sort orders the problems as a reader of the file meets them.
func (p *Problems) sort() {
	slices.SortStableFunc(p.List, func(a, b Problem) int {
		return cmp.Compare(a.Line, b.Line)
	})
}
