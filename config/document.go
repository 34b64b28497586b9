package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/BurntSushi/toml"
)

// document is a TOML file taken apart: its values and tables by dotted key,
// and the line where each stands.
type document struct {
	values map[string]any // string, int64, float64, bool, time.Time, []any
	tables map[string]bool
	lines  map[string]int // of values and tables
	text   string
}

// parseDocument reads TOML. A file that is not TOML is one Problem: a parser
// cannot know what comes after its first error.
func parseDocument(data []byte) (*document, *Problem) {
	// Without the mark that some editors put at the beginning of a file: the
	// parser would take it away and then count from behind it.
	text := strings.TrimPrefix(string(data), "\ufeff")
	var root map[string]toml.Primitive
	meta, err := toml.Decode(text, &root)
	if err != nil {
		return nil, syntaxProblem(err)
	}
	doc := &document{
		values: map[string]any{},
		tables: map[string]bool{},
		lines:  map[string]int{},
		text:   text,
	}
	if err := doc.add(&meta, "", root); err != nil {
		return nil, syntaxProblem(err)
	}
	return doc, nil
}

func syntaxProblem(err error) *Problem {
	problem := &Problem{Line: 1, Message: "not TOML: " + oneLine(err.Error())}
	var parse toml.ParseError
	if errors.As(err, &parse) {
		problem.Message = "not TOML: " + oneLine(parse.Message)
		problem.Line = parse.Position.Line
		if strings.Contains(problem.Message, `\n'`) { // the parser has counted that line end
			problem.Line--
		}
		problem.Line = max(problem.Line, 1)
	}
	return problem
}

// oneLine spells control characters out: the parser quotes them as they are.
func oneLine(s string) string {
	var b strings.Builder
	for _, r := range s {
		if unicode.IsControl(r) {
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// add files what a table holds, tables within it included.
func (d *document) add(meta *toml.MetaData, prefix string, table map[string]toml.Primitive) error {
	for _, name := range slices.Sorted(maps.Keys(table)) {
		key := prefix + toml.Key{name}.String()
		d.lines[key] = d.line(meta, table[name])
		var value any
		if err := meta.PrimitiveDecode(table[name], &value); err != nil {
			return fmt.Errorf("read %s: %w", key, err)
		}
		if _, isTable := value.(map[string]any); !isTable {
			d.values[key] = value
			continue
		}
		d.tables[key] = true
		var inner map[string]toml.Primitive
		if err := meta.PrimitiveDecode(table[name], &inner); err != nil {
			return fmt.Errorf("read %s: %w", key, err)
		}
		if err := d.add(meta, key+".", inner); err != nil {
			return err
		}
		if d.lines[key] == 0 { // a table made by a dotted key has no line of its own
			for name := range inner {
				below := d.lines[key+"."+toml.Key{name}.String()]
				if d.lines[key] == 0 || below < d.lines[key] {
					d.lines[key] = below
				}
			}
		}
	}
	return nil
}

// line is where a value begins; 0: unknown. The toml package knows the
// position of every value, and tells it only in the error it makes when a
// value's own decoder refuses: so we refuse. Its line number is that of the
// value's end (a string may span lines), its offset that of the beginning.
func (d *document) line(meta *toml.MetaData, p toml.Primitive) int {
	var parse toml.ParseError
	if !errors.As(meta.PrimitiveDecode(p, &refuser{}), &parse) || parse.Position.Line == 0 {
		return 0
	}
	return 1 + strings.Count(d.text[:min(parse.Position.Start, len(d.text))], "\n")
}

// refuser is a toml.Unmarshaler that takes no value.
type refuser struct{}

func (*refuser) UnmarshalTOML(any) error { return errors.New("refused") }
