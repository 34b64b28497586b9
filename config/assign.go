package config

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Set gives a key ("data.dir") the value that a file would give it: one string,
// or several for a list. Its error says what is allowed. What keys must agree
// on with each other is not looked at.
func (c *Config) Set(key string, values ...string) error {
	s := settingOf(key)
	if s == nil {
		return fmt.Errorf("set %s: no such key", key)
	}
	field := s.field(c)
	switch field.(type) {
	case *[]string, *[]netip.Addr:
		list := make([]any, len(values))
		for i, v := range values {
			list[i] = v
		}
		return s.assign(field, list)
	}
	if len(values) != 1 {
		return fmt.Errorf("set %s: %d values for one", key, len(values))
	}
	return s.assign(field, values[0])
}

// assign puts a value as TOML has it (string, int64, float64, bool, time.Time,
// []any) into a field, or says why not.
func (s *setting) assign(field, value any) error {
	switch field := field.(type) {
	case *string:
		text, ok := value.(string)
		if !ok {
			return fmt.Errorf(`%s is not a string: allowed is text in quotes`, describe(value))
		}
		return s.assignString(field, text)
	case *[]string:
		return s.assignStrings(field, value)
	case *[]netip.Addr:
		return s.assignAddresses(field, value)
	case *uint16:
		return s.assignPort(field, value)
	case *int64:
		return s.assignSize(field, value)
	case *int:
		return s.assignCount(field, value)
	case *time.Duration:
		return s.assignDuration(field, value)
	case *bool:
		on, ok := value.(bool)
		if !ok {
			return fmt.Errorf("%s is not a switch: allowed is true or false", describe(value))
		}
		*field = on
		return nil
	}
	return fmt.Errorf("assign %s: no rule for a %T", s.key, field)
}

func (s *setting) assignString(field *string, text string) error {
	if err := printable(text); err != nil {
		return err
	}
	if text == "" && s.optional {
		*field = ""
		return nil
	}
	canonical, err := s.check(text)
	if err != nil {
		return err
	}
	*field = canonical
	return nil
}

func (s *setting) assignStrings(field *[]string, value any) error {
	texts, err := stringList(value)
	if err != nil {
		return err
	}
	list := make([]string, 0, len(texts))
	seen := map[string]bool{}
	for _, text := range texts {
		canonical, err := s.check(text)
		if err != nil {
			return err
		}
		if seen[canonical] {
			return fmt.Errorf("%q is in the list twice: allowed is once", text)
		}
		seen[canonical] = true
		list = append(list, canonical)
	}
	*field = list
	return nil
}

func (s *setting) assignAddresses(field *[]netip.Addr, value any) error {
	texts, err := stringList(value)
	if err != nil {
		return err
	}
	var list []netip.Addr
	for _, text := range texts {
		addr, err := parseListenAddress(text)
		if err != nil {
			return err
		}
		if list, err = addAddress(list, addr); err != nil {
			return err
		}
	}
	if len(list) == 0 {
		return fmt.Errorf(`the list is empty: allowed is at least one address, like "127.0.0.1"; a single listener is turned off by port 0`)
	}
	*field = list
	return nil
}

func (s *setting) assignPort(field *uint16, value any) error {
	allowed := fmt.Sprintf("allowed is a number from %d to %d", s.min, s.max)
	if s.zero {
		allowed += ", or 0 for off"
	}
	port, ok := value.(int64)
	if !ok || port < 0 || port > s.max || !s.allows(port) {
		return fmt.Errorf("%s is not a port: %s", describe(value), allowed)
	}
	*field = uint16(port)
	return nil
}

func (s *setting) assignSize(field *int64, value any) error {
	size, ok := value.(int64)
	if !ok {
		text, ok := value.(string)
		if !ok {
			return fmt.Errorf("%s is not a size: %s", describe(value), sizeExample)
		}
		var err error
		if size, err = ParseSize(text); err != nil {
			return err
		}
	}
	if !s.allows(size) {
		allowed := fmt.Sprintf("allowed is %q to %q", formatSize(s.min), formatSize(s.max))
		if s.zero {
			allowed += `, or "0" for no limit`
		}
		return fmt.Errorf("%s is out of range: %s", describe(value), allowed)
	}
	*field = size
	return nil
}

func (s *setting) assignCount(field *int, value any) error {
	count, ok := value.(int64)
	if !ok || !s.allows(count) {
		allowed := fmt.Sprintf("allowed is a number from %d to %d", s.min, s.max)
		if s.zero {
			allowed += ", or 0 for no limit"
		}
		return fmt.Errorf("%s is out of range: %s", describe(value), allowed)
	}
	*field = int(count)
	return nil
}

func (s *setting) assignDuration(field *time.Duration, value any) error {
	text, ok := value.(string)
	if !ok {
		text = describe(value)
	}
	d, err := parseDuration(text)
	if err != nil {
		return err
	}
	if !s.allows(int64(d)) {
		return fmt.Errorf("%q is out of range: allowed is %q to %q", text,
			formatDuration(time.Duration(s.min)), formatDuration(time.Duration(s.max)))
	}
	*field = d
	return nil
}

// allows says whether n is in the setting's range.
func (s *setting) allows(n int64) bool {
	return s.min <= n && n <= s.max || s.zero && n == 0
}

// stringList takes a TOML array of strings.
func stringList(value any) ([]string, error) {
	items, ok := value.([]any)
	if !ok {
		return nil, fmt.Errorf(`%s is not a list: allowed is ["…", "…"]`, describe(value))
	}
	texts := make([]string, 0, len(items))
	for _, item := range items {
		text, ok := item.(string)
		if !ok {
			return nil, fmt.Errorf(`%s in the list is not a string: allowed is ["…", "…"]`, describe(item))
		}
		if err := printable(text); err != nil {
			return nil, err
		}
		texts = append(texts, text)
	}
	return texts, nil
}

// printable refuses what would end a line or a string in one of the files that
// values are rendered into.
func printable(s string) error {
	for _, r := range s {
		if unicode.IsControl(r) {
			return fmt.Errorf("%q contains the control character %U: allowed is plain text on one line", s, r)
		}
	}
	return nil
}

// describe shows a TOML value in an error.
func describe(value any) string {
	switch v := value.(type) {
	case string:
		return fmt.Sprintf("%q", v)
	case []any, []map[string]any:
		return "a list"
	case time.Time:
		return "a date"
	case float64:
		text := strconv.FormatFloat(v, 'g', -1, 64)
		if !strings.ContainsAny(text, ".einf") {
			text += ".0" // what makes it a number of the wrong kind
		}
		return text
	default:
		return fmt.Sprint(v)
	}
}
