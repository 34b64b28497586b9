package config

import (
	"bytes"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

const referenceHeader = `# The configuration of a mail server, all of it.
#
# Every key is here at the value that it has anyway, switched off by the "#"
# right before it. To change one, take that "#" away and change the value; leave
# the [tables] as they are. "mailstack plan" shows what a change would do and
# "mailstack up" does it.
#
# With nothing switched on this is the demonstration: a stack named "demo" for
# programs on this machine only. For mail of your own,
#
#     mailstack init
#
# asks a few questions and writes a file like this one, for a stack that shares
# nothing with the demonstration. While nothing is switched on here,
# /etc/mailstack/mailstack.toml comes first, where there is one.
`

const writtenHeader = `# The configuration of a mail server, written by "mailstack init".
#
# Every key is here. Those with a "#" right before them are switched off and
# show the value that they have anyway: to change one, take that "#" away and
# change the value; leave the [tables] as they are. "mailstack plan" shows what a
# change would do and "mailstack up" does it.
`

// Reference is the reference file: every key with its words, switched off, at
// its default.
func Reference() []byte {
	return render(referenceHeader, Default())
}

// Render is a file that Parse reads as c: what differs from the defaults is
// switched on, everything else is as in the reference.
func Render(c Config) []byte {
	return render(writtenHeader, c)
}

// noteColumn is where the words behind a key begin.
const noteColumn = 20

func render(header string, c Config) []byte {
	var b bytes.Buffer
	b.WriteString(header)
	defaults := Default()
	table, first := "", true
	for _, s := range settings {
		if s.table() != table {
			if table == "relay" {
				writeRelayDomains(&b, c.Relay.Domains)
			}
			table, first = s.table(), true
			b.WriteByte('\n')
			if doc := tableDocs[table]; doc != "" {
				writeWords(&b, doc)
			}
			fmt.Fprintf(&b, "[%s]\n", table)
		}
		if s.doc != "" {
			if !first || table == "" {
				b.WriteByte('\n')
			}
			writeWords(&b, s.doc)
		}
		first = false
		line := s.name() + " = " + format(s.field(&c))
		if reflect.DeepEqual(s.field(&c), s.field(&defaults)) {
			line = "#" + line
		}
		if s.note != "" {
			line = fmt.Sprintf("%-*s # %s", noteColumn, line, s.note)
		}
		b.WriteString(line + "\n")
	}
	return b.Bytes()
}

// writeRelayDomains writes the tables of domains: host, which each has to have, and
// what is not at its default.
func writeRelayDomains(b *bytes.Buffer, domains map[string]Relay) {
	for _, domain := range slices.Sorted(maps.Keys(domains)) {
		relay, defaults := domains[domain], defaultRelay()
		fmt.Fprintf(b, "\n[%s.%s]\n", relayDomains, quote(domain))
		own := relaySettings(relayDomains, func(*Config) *Relay { return &relay })
		for i, s := range relaySettings(relayDomains, func(*Config) *Relay { return &defaults }) {
			value := own[i].field(nil)
			if s.name() == "host" || !reflect.DeepEqual(value, s.field(nil)) {
				fmt.Fprintf(b, "%s = %s\n", s.name(), format(value))
			}
		}
	}
}

// writeWords writes comment lines: a blank behind the "#" tells them from keys.
func writeWords(b *bytes.Buffer, text string) {
	for line := range strings.Lines(text) {
		b.WriteString(strings.TrimRight("# "+line, " \n") + "\n")
	}
}

// format writes a field's value as TOML.
func format(field any) string {
	switch v := field.(type) {
	case *string:
		return quote(*v)
	case *[]string:
		quoted := make([]string, len(*v))
		for i, s := range *v {
			quoted[i] = quote(s)
		}
		return "[" + strings.Join(quoted, ", ") + "]"
	case *[]netip.Addr:
		quoted := make([]string, len(*v))
		for i, a := range *v {
			quoted[i] = quote(a.String())
		}
		return "[" + strings.Join(quoted, ", ") + "]"
	case *uint16:
		return strconv.Itoa(int(*v))
	case *int:
		return strconv.Itoa(*v)
	case *int64:
		return quote(formatSize(*v))
	case *time.Duration:
		return quote(formatDuration(*v))
	case *bool:
		return strconv.FormatBool(*v)
	}
	panic(fmt.Sprintf("no TOML for a %T", field)) // a test renders every setting
}

// quote writes a TOML basic string. No value holds a control character.
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}
