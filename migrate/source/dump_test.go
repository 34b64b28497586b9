package source

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

func TestReadDump(t *testing.T) {
	const dump = "\ufeff" + `<?xml version="1.0"?>
<mysqldump xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
<database name="d">
	<table_structure name="T"><field Field="x" Type="int" /></table_structure>
	<table_data name="Empty">
	</table_data>
	<table_data name="T">
	<row>
		<field name="Text">a &lt;b&gt; &amp; ` + "\x01\x08é\xff\xc3" + `</field>
		<field name="null" xsi:nil="true" />
		<field name="bits" xsi:type="xs:hexBinary">01</field>
		<field name="secret">no</field>
	</row>
	<row><field name="Text"></field></row>
	</table_data>
</database>
</mysqldump>`
	want := tables{"t": {{"text": "a <b> & \uFFFD\uFFFDé\uFFFD\uFFFD", "bits": "\x01"}, {"text": ""}}}
	for name, in := range map[string]io.Reader{
		"at once": strings.NewReader(dump), "byte by byte": iotest.OneByteReader(strings.NewReader(dump)), "with the end": iotest.DataErrReader(strings.NewReader(dump)),
	} {
		got, err := readDump(in, func(table, column string) bool { return column != "secret" })
		if err != nil {
			t.Fatal(err)
		}
		if _, found := got["empty"]; found {
			t.Errorf("%s: rows of an empty table", name)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// A dump that is not whole is never taken for one.
func TestBrokenDumps(t *testing.T) {
	row := `<x><table_data name="t"><row><field name="a">`
	boom := errors.New("boom")
	for _, test := range []struct {
		name string
		in   io.Reader
		want string
	}{
		{"cut off in a row", strings.NewReader(row + "1"), "unexpected EOF"},
		{"cut off after a row", strings.NewReader(row + "1</field></row>"), "unexpected EOF"},
		{"broken connection", io.MultiReader(strings.NewReader(row+"1</field></row>"), iotest.ErrReader(boom)), "boom"},
		{"not XML", strings.NewReader("-- MariaDB dump\nINSERT INTO <"), ""},
		{"huge value", strings.NewReader(row + strings.Repeat("x", maxField+1)), "is longer than"},
		{"entities", strings.NewReader(`<!DOCTYPE x [<!ENTITY e "eee">]>` + row + "&e;</field>"), "entity"},
		{"not hexadecimal", strings.NewReader(strings.Replace(row, `"a"`, `"a" type="xs:hexBinary"`, 1) + "zz</field></row></table_data></x>"), "hexadecimal"},
	} {
		if _, err := readDump(test.in, nil); err == nil && test.want != "" || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
	nearlyFull := &dumpParser{found: tables{}, rows: maxRows - 1}
	if _, err := nearlyFull.read(strings.NewReader("<x><row></row><row></row></x>")); err == nil || !strings.Contains(err.Error(), "more than 2000000 rows") {
		t.Errorf("too many rows: %v", err)
	}
}

func TestRequest(t *testing.T) {
	r := Request{Database: "a`b", Tables: []string{"t", "u"}, Where: "x = 1"}
	args := strings.Join(r.DumpArgs(), " ")
	for _, want := range []string{"--single-transaction", "--skip-lock-tables", "--xml", "--hex-blob", "--where=x = 1 -- a`b t u"} {
		if !strings.Contains(args, want) {
			t.Errorf("arguments without %q: %s", want, args)
		}
	}
	const want = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY;\nSELECT * FROM `a``b`.`t` WHERE x = 1;\nSELECT * FROM `a``b`.`u` WHERE x = 1;\n"
	if got := r.Statements(); got != want {
		t.Errorf("statements: %q, want %q", got, want)
	}
	for _, statement := range strings.Split(want, "\n")[1:3] {
		if got := tableOf(statement); got != "t" && got != "u" {
			t.Errorf("table of %q: %q", statement, got)
		}
	}
}

// endlessly says something again and again, up to so many bytes.
func endlessly(what string, bytes int64) io.Reader {
	return io.LimitReader(&again{what: what}, bytes)
}

type again struct {
	what string
	at   int
}

func (a *again) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		c := copy(p[n:], a.what[a.at:])
		n, a.at = n+c, (a.at+c)%len(a.what)
	}
	return n, nil
}

// TestHostileDump: what a database says without an end takes no memory without one.
func TestHostileDump(t *testing.T) {
	const begin = `<x><table_data name="t"><row><field name="a">`
	value := strings.Repeat("v", maxField)
	for _, test := range []struct {
		name string
		in   io.Reader
		want string
	}{
		{"a text without end", io.MultiReader(strings.NewReader("<x>"), endlessly("x", 1<<30)), "without an element"},
		{"a name without end", io.MultiReader(strings.NewReader(`<x name="`), endlessly("x", 1<<30)), "without an element"},
		{"a comment without end", io.MultiReader(strings.NewReader(`<x><!-- `), endlessly("x", 1<<30)), "without an element"},
		{"a value without end", io.MultiReader(strings.NewReader(begin), endlessly("x", 1<<30)), "is longer than"},
		{"values without end", io.MultiReader(strings.NewReader(`<x><table_data name="t">`), endlessly(`<row><field name="a">`+value+`</field></row>`, maxDump)), "its values take more than"},
		{"elements without end", endlessly("<x>", 64<<20), "in each other"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			const most = 32 << 20
			_, err := (&dumpParser{found: tables{}, most: most}).read(test.in)
			runtime.ReadMemStats(&after)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
			if used := int64(after.Sys) - int64(before.Sys); used > 4*(most+maxToken) {
				t.Errorf("%d MB of memory were taken (%v)", used>>20, err)
			}
		})
	}
}

func FuzzReadDump(f *testing.F) {
	f.Add([]byte(`<x><table_data name="t"><row><field name="a">1</field><field name="b" nil="true"/></row></table_data></x>`))
	f.Add([]byte("<resultset statement=\"SELECT * FROM `d`.`t`\"><row><field name=\"a\" type=\"xs:hexBinary\">00</field></row></resultset>"))
	f.Add([]byte("\x00\xff<row></field>"))
	f.Fuzz(func(t *testing.T, dump []byte) {
		found, err := readDump(bytes.NewReader(dump), nil)
		if err != nil {
			return
		}
		for _, s := range schemas {
			m := s.mapping(func(string, string) bool { return true })
			checkListing(t, m.read(found, "PLAIN"))
		}
	})
}
