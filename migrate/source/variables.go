package source

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// expand fills in the variables of Dovecot 2.3 (%u %n %d %h, with modifiers and
// a width: %Ld, %1n, %2.1u; long names in braces) and of 2.4 (%{user | domain |
// lower}). Those that are not known here are an error: a path that is guessed
// is worse than none.
//
// https://doc.dovecot.org/2.3/configuration_manual/config_file/config_variables/
// https://doc.dovecot.org/2.4.1/core/settings/variables.html
func (u user) expand(text string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(text); {
		if text[i] != '%' {
			b.WriteByte(text[i])
			i++
			continue
		}
		value, used, err := u.variable(text[i:])
		if err != nil {
			return "", fmt.Errorf("expand %q: %w", clean(text), err)
		}
		b.WriteString(value)
		i += used
	}
	return b.String(), nil
}

// variable expands the one that text begins with; used is its length.
func (u user) variable(text string) (value string, used int, err error) {
	rest := text[1:]
	width, rest, err := parseWidth(rest)
	if err != nil {
		return "", 0, err
	}
	var modifiers string
	for rest != "" && strings.ContainsRune("LUHNMDTEXR", rune(rest[0])) {
		modifiers += rest[:1]
		rest = rest[1:]
	}
	switch {
	case rest == "":
		return "", 0, errors.New("it ends in a bare %")
	case rest[0] == '{':
		end := strings.IndexByte(rest, '}')
		if end < 0 {
			return "", 0, errors.New("a brace is not closed")
		}
		value, err = u.long(rest[1:end])
		rest = rest[end+1:]
	default:
		value, err = u.short(rest[0])
		rest = rest[1:]
	}
	if err != nil {
		return "", 0, err
	}
	for i := range modifiers {
		switch modifiers[i] {
		case 'L':
			value = strings.ToLower(value)
		case 'U':
			value = strings.ToUpper(value)
		default:
			return "", 0, fmt.Errorf("the modifier %%%c (a hash, for example) is not supported", modifiers[i])
		}
	}
	return width.cut(value), len(text) - len(rest), nil
}

// width is OFFSET.WIDTH before a variable of 2.3, or the one number WIDTH.
type width struct {
	offset, length int // length 0: all
}

func parseWidth(text string) (w width, rest string, err error) {
	number := func() (int, bool) {
		end := 0
		for end < len(text) && text[end] >= '0' && text[end] <= '9' {
			end++
		}
		n, err := strconv.Atoi(text[:end])
		text = text[end:]
		return n, err == nil && n < 1000
	}
	if text == "" || !strings.ContainsRune("0123456789.-", rune(text[0])) {
		return w, text, nil
	}
	ok := true
	if text[0] != '.' {
		w.length, ok = number()
	}
	if ok && strings.HasPrefix(text, ".") {
		text = text[1:]
		w.offset = w.length
		w.length, ok = number()
	}
	if !ok {
		return w, "", errors.New("a width like this is not supported")
	}
	return w, text, nil
}

func (w width) cut(value string) string {
	value = value[min(w.offset, len(value)):]
	if w.length > 0 {
		value = value[:min(w.length, len(value))]
	}
	return value
}

func (u user) short(name byte) (string, error) {
	switch name {
	case '%':
		return "%", nil
	case 'u':
		return u.name, nil
	case 'n':
		return u.local(), nil
	case 'd':
		return u.domain(), nil
	case 'h':
		if u.home == "" {
			return "", fmt.Errorf("the home of %s is not known", u.name)
		}
		return u.home, nil
	}
	return "", fmt.Errorf("the variable %%%c is not supported", name)
}

// long is a variable in braces, with filters of 2.4 after it.
func (u user) long(text string) (string, error) {
	name, filters, _ := strings.Cut(text, "|")
	value, known := "", true
	switch name = strings.TrimSpace(name); name {
	case "user", "owner_user":
		value = u.name
	case "username", "owner_username":
		value = u.local()
	case "domain", "owner_domain":
		value = u.domain()
	case "home", "owner_home":
		value, known = u.home, u.home != ""
	default:
		// A field of the user database is not known here; a default may follow.
		known = false
	}
	for filter := range strings.SplitSeq(filters, "|") {
		filter = strings.TrimSpace(filter)
		if argument, found := strings.CutPrefix(filter, "default("); found {
			if !known {
				value, known = literal(strings.TrimSuffix(argument, ")")), true
			}
			continue
		}
		next, err := filter24(filter, value)
		if err != nil {
			return "", err
		}
		value = next
	}
	if !known {
		return "", fmt.Errorf("the variable %%{%s} is not known", clean(name))
	}
	return value, nil
}

// literal is an argument of a filter, in either kind of quotes.
func literal(text string) string {
	text = strings.TrimSpace(text)
	if n := len(text); n >= 2 && text[0] == '\'' && text[n-1] == '\'' {
		return text[1 : n-1]
	}
	return unquote(text)
}

func filter24(filter, value string) (string, error) {
	switch filter {
	case "":
		return value, nil
	case "lower":
		return strings.ToLower(value), nil
	case "upper":
		return strings.ToUpper(value), nil
	case "username":
		return user{name: value}.local(), nil
	case "domain":
		return user{name: value}.domain(), nil
	}
	if arguments, found := strings.CutPrefix(filter, "substr("); found {
		offset, length, _ := strings.Cut(strings.TrimSuffix(arguments, ")"), ",")
		from, errFrom := strconv.Atoi(strings.TrimSpace(offset))
		n, errN := 0, error(nil)
		if length = strings.TrimSpace(length); length != "" {
			n, errN = strconv.Atoi(length)
		}
		if errFrom == nil && errN == nil && from >= 0 && n >= 0 && from < 1000 && n < 1000 {
			return width{from, n}.cut(value), nil
		}
	}
	return "", fmt.Errorf("the filter %q is not supported", clean(filter))
}
