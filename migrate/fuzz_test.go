package migrate

import (
	"bytes"
	"strings"
	"testing"
	"unicode"
)

// FuzzCopied: what rsync tells of its progress comes from the old server, whose
// file names may hold anything. No count is ever negative, and what it complains
// of is fit for a terminal.
func FuzzCopied(f *testing.F) {
	f.Add([]byte(">f+++++++++ 1234 1250 cur/1.x:2,S\n>f.st...... 0 0 new/2\ncd+++++++++ 4096 0 cur/\n"), "vmail/a/Maildir")
	f.Add([]byte(">f 9223372036854775807 1 cur/x\n>f -1 1 cur/x\n>f 1 1 \n>f\n\n"), "")
	f.Add([]byte("rsync: [sender] \x1b[2J \xff\xfe\nrsync error: some files (code 23)\r\n"), "../..")
	f.Fuzz(func(t *testing.T, said []byte, dir string) {
		files := 0
		err := readCopied(bytes.NewReader(said), dir, func(a Amount) {
			files++
			if a.Bytes < 0 || a.Messages < 0 || a.Messages > 1 {
				t.Errorf("copied %+v", a)
			}
		})
		if lines := bytes.Count(said, []byte("\n")) + 1; err == nil && files > lines {
			t.Errorf("%d files in %d lines", files, lines)
		}
		c := &complaints{}
		for part := range bytes.SplitAfterSeq(said, []byte("\n")) {
			if n, err := c.Write(part); n != len(part) || err != nil {
				t.Errorf("wrote %d of %d, %v", n, len(part), err)
			}
		}
		if len(c.kept) > maxComplaints || strings.ContainsFunc(c.String(), unicode.IsControl) {
			t.Errorf("%d octets are kept, and said is %q", len(c.kept), c.String())
		}
	})
}
