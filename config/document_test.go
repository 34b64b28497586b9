package config

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Positions come out of the toml package by a side door: whatever a file looks
// like, each key must be found on the line where a person sees it.
func TestDocumentLines(t *testing.T) {
	const text = "\ufeff# a comment = 1\n" + // 1
		"name = 'demo' # trailing # comment\n" + // 2
		"\"host name\" = 1\r\n" + // 3
		"aliases = [ # [data]\n" + // 4
		"  'a', # imap = 143\n" + // 5
		"  \"b ] [listen]\",\n" + // 6
		"]\n" + // 7
		"listen.imap = 143\n" + // 8
		"listen.\"pop3\" = 110\n" + // 9
		"tls = { mode = 'x', other = { deep = 1 } }\n" + // 10
		"\n" + // 11
		"  [ data ]\n" + // 12
		"  dir = 3\n" + // 13
		"[a.b.\"c.d\"]\n" + // 14
		"e = true\n" + // 15
		"[[many]]\n" + // 16
		"x = 1\n" // 17
	doc, problem := parseDocument([]byte(text))
	if problem != nil {
		t.Fatal(problem)
	}
	want := map[string]int{
		"name": 2, `"host name"`: 3, "aliases": 4,
		"listen": 8, "listen.imap": 8, "listen.pop3": 9,
		"tls": 10, "tls.mode": 10, "tls.other": 10, "tls.other.deep": 10,
		"data": 12, "data.dir": 13,
		"a": 14, "a.b": 14, `a.b."c.d"`: 14, `a.b."c.d".e`: 15,
		"many": 16,
	}
	if diff := cmp.Diff(want, doc.lines); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}

// A value may span lines: it stands where it begins.
func TestDocumentMultilineValues(t *testing.T) {
	const text = "a = 1\n" + // 1
		"b = \"\"\"\nx\ny\"\"\"\n" + // 2-4
		"c = '''\nx\n'''\n" + // 5-7
		"d = {\n  x = 1,\n  y = 2 }\n" + // 8-10
		"e = 1\n" // 11
	doc, problem := parseDocument([]byte(text))
	if problem != nil {
		t.Fatal(problem)
	}
	want := map[string]int{"a": 1, "b": 2, "c": 5, "d": 8, "d.x": 9, "d.y": 10, "e": 11}
	if diff := cmp.Diff(want, doc.lines); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}
