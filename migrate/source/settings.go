package source

import "strings"

// Bounds of a configuration. Dovecot's own has some 200 lines and four levels.
const (
	maxLines = 50000
	maxDepth = 20
)

// section is a block of doveconf's output: "kind name { … }". The whole is a
// section without either.
type section struct {
	kind, name string
	settings   []setting
	sections   []section
}

type setting struct{ key, value string }

// get is the value of a setting, the last one if there are several; "" if there
// is none.
func (s *section) get(key string) string {
	value := ""
	for _, set := range s.settings {
		if set.key == key {
			value = set.value
		}
	}
	return value
}

// of are the sections of a kind.
func (s *section) of(kind string) (found []*section) {
	for i := range s.sections {
		if s.sections[i].kind == kind {
			found = append(found, &s.sections[i])
		}
	}
	return found
}

// parseSettings reads what `doveconf -n` prints, of Dovecot 2.3 and 2.4
// (config_dump_human in src/config/doveconf.c). What doveconf complains of is
// in complaint, the last of it. Lines that make no sense are passed over.
func parseSettings(text string) (top section, complaint string) {
	open := []*section{&top}
	lines := 0
	for line := range strings.Lines(text) {
		if lines++; lines > maxLines {
			break
		}
		line = strings.TrimSpace(line)
		here := open[len(open)-1]
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "doveconf: "):
			if !strings.HasPrefix(line, "doveconf: Warning") {
				complaint = clean(strings.TrimPrefix(line, "doveconf: "))
			}
		case line == "}":
			if len(open) > 1 {
				open = open[:len(open)-1]
			}
		case strings.HasSuffix(line, "{"):
			kind, name, _ := strings.Cut(strings.TrimSpace(strings.TrimSuffix(line, "{")), " ")
			if len(open) > maxDepth {
				return top, "blocks within blocks without end"
			}
			here.sections = append(here.sections, section{kind: kind, name: unquote(strings.TrimSpace(name))})
			open = append(open, &here.sections[len(here.sections)-1])
		default:
			if key, value, found := strings.Cut(line, "="); found {
				here.settings = append(here.settings, setting{strings.TrimSpace(key), unquote(strings.TrimSpace(value))})
			}
		}
	}
	return top, complaint
}

// unquote takes off the quotes that doveconf puts around a value with a # or
// with blanks at an end (str_escape: backslashes before ", ' and \).
func unquote(value string) string {
	if len(value) < 2 || value[0] != '"' || value[len(value)-1] != '"' {
		return value
	}
	var b strings.Builder
	inner := value[1 : len(value)-1]
	for i := 0; i < len(inner); i++ {
		if inner[i] == '\\' && i+1 < len(inner) {
			i++
		}
		b.WriteByte(inner[i])
	}
	return b.String()
}

// list is a setting that lists names: in one value, as 2.3 has it and 2.4 may,
// or in a block of its own, "name = yes".
func (s *section) list(key string) []string {
	names := strings.Fields(strings.ReplaceAll(s.get(key), ",", " "))
	for _, block := range s.of(key) {
		for _, set := range block.settings {
			if set.value == "yes" {
				names = append(names, set.key)
			}
		}
	}
	return names
}
