package source

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Bounds of a dump.
const (
	maxRows   = 2_000_000
	maxField  = 1 << 20 // the targets of an alias
	maxFields = 500     // of a row
	maxDump   = 2 << 30 // bytes
	// maxKept is what all values that are kept may take, in bytes, with what a
	// row and a field take beside them: accounts of a million people.
	maxKept   = 512 << 20
	rowBytes  = 512
	cellBytes = 64
	// maxToken is how far one "<" may be from the next: the XML decoder holds
	// all that is between them. Values of columns that are passed over count too.
	maxToken   = 16 << 20
	maxNesting = 20
)

// Dumper reads the tables of a database.
type Dumper interface {
	// Dump writes the rows of a request as XML, as `mariadb-dump --xml` (see
	// Request.DumpArgs) or `mariadb --xml` (see Request.Statements) does. Reading
	// it gives io.EOF only when nothing is missing.
	Dump(ctx context.Context, r Request) (io.ReadCloser, error)
}

// Request says which rows.
type Request struct {
	Database string
	Tables   []string
	Where    string // SQL, for every table; "": all rows
}

// DumpArgs are the arguments of mariadb-dump or mysqldump. What is read is one
// moment of the database, and nobody is kept waiting: one transaction, no
// locks. The two that begin with --loose are MySQL's: with them it writes no
// statements between the XML and needs no rights beyond SELECT (MySQL 8.0,
// mysqldump, --set-gtid-purged).
func (r Request) DumpArgs() []string {
	args := []string{
		"--xml", "--single-transaction", "--skip-lock-tables", "--no-tablespaces", "--no-create-info", "--skip-triggers",
		"--hex-blob", "--default-character-set=utf8mb4", "--loose-set-gtid-purged=OFF", "--loose-column-statistics=0",
	}
	if r.Where != "" {
		args = append(args, "--where="+r.Where)
	}
	return append(append(args, "--", r.Database), r.Tables...)
}

// ClientArgs are the arguments of the client, mariadb or mysql, for Statements.
func ClientArgs() []string {
	return []string{"--xml", "--quick", "--default-character-set=utf8mb4"}
}

// Statements are for the standard input of the client, where there is no
// mariadb-dump: the images of mailstack have none.
func (r Request) Statements() string {
	var b strings.Builder
	b.WriteString("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY;\n")
	for _, table := range r.Tables {
		where := ""
		if r.Where != "" {
			where = " WHERE " + r.Where
		}
		fmt.Fprintf(&b, "SELECT * FROM %s.%s%s;\n", backquote(r.Database), backquote(table), where)
	}
	return b.String()
}

func backquote(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }

// row is one of a table, by the lower-case name of the column. NULL is absent.
type row map[string]string

// tables are rows by the lower-case name of their table.
type tables map[string][]row

// readDump reads the XML of either program. Columns that keep says no to are
// passed over; nil keeps all.
func readDump(dump io.Reader, keep func(table, column string) bool) (tables, error) {
	return (&dumpParser{keep: keep, found: tables{}, most: maxKept}).read(dump)
}

func (p *dumpParser) read(dump io.Reader) (tables, error) {
	decoder := xml.NewDecoder(&xmlText{in: &io.LimitedReader{R: dump, N: maxDump}})
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return p.found, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read the dump of the database: %w", err)
		}
		if err := p.take(token); err != nil {
			return nil, fmt.Errorf("read the dump of the database: %w", err)
		}
	}
}

type dumpParser struct {
	keep  func(table, column string) bool
	found tables
	rows  int
	depth int
	kept  int // of most, which is maxKept
	most  int

	table  string
	row    row // nil outside of one
	column string
	value  strings.Builder
	hex    bool
	inside bool // of a field
}

func (p *dumpParser) take(token xml.Token) error {
	switch t := token.(type) {
	case xml.StartElement:
		if p.depth++; p.depth > maxNesting {
			return fmt.Errorf("more than %d elements in each other", maxNesting)
		}
		return p.start(t)
	case xml.EndElement:
		p.depth--
		return p.end(t.Name.Local)
	case xml.CharData:
		if p.inside {
			if p.value.Len()+len(t) > maxField {
				return fmt.Errorf("a value of %s.%s is longer than %d bytes", clean(p.table), clean(p.column), maxField)
			}
			p.value.Write(t)
		}
	}
	return nil
}

func (p *dumpParser) start(t xml.StartElement) error {
	attribute := func(name string) string {
		for _, a := range t.Attr {
			if a.Name.Local == name {
				return a.Value
			}
		}
		return ""
	}
	switch t.Name.Local {
	case "table_data":
		p.table = strings.ToLower(attribute("name"))
	case "resultset":
		p.table = tableOf(attribute("statement"))
	case "row":
		if p.rows++; p.rows > maxRows {
			return fmt.Errorf("it has more than %d rows", maxRows)
		}
		p.row = row{}
		p.kept += rowBytes
	case "field":
		if p.row == nil {
			break // of table_structure
		}
		p.column = strings.ToLower(attribute("name"))
		p.hex = strings.HasSuffix(attribute("type"), "hexBinary")
		p.inside = attribute("nil") != "true" && (p.keep == nil || p.keep(p.table, p.column))
		p.value.Reset()
	}
	return nil
}

func (p *dumpParser) end(name string) error {
	switch name {
	case "field":
		if !p.inside {
			break
		}
		p.inside = false
		value := p.value.String()
		if p.hex {
			binary, err := hex.DecodeString(value)
			if err != nil {
				return fmt.Errorf("%s.%s is not hexadecimal", clean(p.table), clean(p.column))
			}
			value = string(binary)
		}
		if len(p.row) < maxFields {
			p.row[p.column] = value
			p.kept += len(p.column) + len(value) + cellBytes
		}
		if p.kept > p.most {
			return fmt.Errorf("its values take more than %d bytes", p.most)
		}
	case "row":
		if p.row != nil {
			p.found[p.table] = append(p.found[p.table], p.row)
		}
		p.row = nil
	case "table_data", "resultset":
		p.table = ""
	}
	return nil
}

// tableOf is the table of a statement of Request.Statements.
func tableOf(statement string) string {
	_, after, _ := strings.Cut(statement, " FROM ")
	name, _, _ := strings.Cut(strings.TrimSpace(after), " WHERE ")
	_, table, _ := strings.Cut(strings.Trim(name, "`"), "`.`")
	return strings.ToLower(strings.ReplaceAll(table, "``", "`"))
}

// xmlText replaces what is in no XML document: neither program escapes control
// characters, and a log table is full of them.
type xmlText struct {
	in    io.Reader
	since int    // bytes since the last "<"
	rest  []byte // an unfinished character of the last read
	out   bytes.Buffer
	err   error
	buf   [16 << 10]byte
}

func (x *xmlText) Read(p []byte) (int, error) {
	for x.out.Len() == 0 && x.err == nil {
		var n int
		n, x.err = x.in.Read(x.buf[:])
		x.mend(append(x.rest, x.buf[:n]...))
		if at := bytes.LastIndexByte(x.buf[:n], '<'); at >= 0 {
			x.since = n - at
		} else if x.since += n; x.since > maxToken {
			x.err = fmt.Errorf("more than %d bytes without an element", maxToken)
			x.out.Reset()
		}
	}
	if x.out.Len() > 0 {
		return x.out.Read(p)
	}
	return 0, x.err
}

func (x *xmlText) mend(text []byte) {
	for len(text) > 0 {
		if x.err == nil && !utf8.FullRune(text) {
			break
		}
		r, size := utf8.DecodeRune(text)
		switch {
		case r < ' ' && r != '\t' && r != '\n' && r != '\r', r == 0xFFFE, r == 0xFFFF:
			x.out.WriteRune(utf8.RuneError)
		case r == utf8.RuneError: // a byte that is no character
			x.out.WriteRune(utf8.RuneError)
		default:
			x.out.Write(text[:size])
		}
		text = text[size:]
	}
	x.rest = bytes.Clone(text)
}
