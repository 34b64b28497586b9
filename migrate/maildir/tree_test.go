package maildir

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// treeOf makes a tree of lines TYPE PATH.
func treeOf(t *testing.T, layout Layout, lines ...string) *Tree {
	t.Helper()
	tree, err := ReadTree("/m", layout, entriesOf(lines))
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func entriesOf(lines []string) func() (Entry, error) {
	return func() (Entry, error) {
		if len(lines) == 0 {
			return Entry{}, io.EOF
		}
		line := lines[0]
		lines = lines[1:]
		return Entry{Type: line[0], Path: line[2:], Size: 1, Sec: 1}, nil
	}
}

// summary is a tree in lines: key, directory, messages, control files.
func summary(tree *Tree) []string {
	var lines []string
	for _, f := range tree.Folders {
		line := fmt.Sprintf("%q in %q:", f.Key, f.Dir)
		for i := range f.Messages {
			line += " " + strings.TrimPrefix(f.Path("/m", f.Messages[i]), "/m/")
		}
		for _, c := range f.Controls {
			line += " " + c.Path
		}
		lines = append(lines, line)
	}
	return lines
}

func TestTree(t *testing.T) {
	for _, test := range []struct {
		name         string
		layout       Layout
		entries      []string
		want         []string
		left, broken int
	}{
		{"empty", PlusPlus, nil, []string{`"" in "":`}, 0, 0},
		{
			"folders", PlusPlus,
			[]string{"d cur", "f cur/2:2,S", "f new/3", "f cur/1", "d tmp", "f tmp/x", "d .Sent", "f .Sent/cur/1", "d .Empty", "f .Sent/maildirfolder"},
			[]string{`"" in "": cur/1 cur/2:2,S new/3`, `".Empty" in ".Empty":`, `".Sent" in ".Sent": .Sent/cur/1 /m/.Sent/maildirfolder`},
			0, 0,
		},
		{
			"caches and locks", PlusPlus,
			[]string{"f dovecot.index", "f dovecot.index.cache", "f dovecot.list.index.log", "f dovecot.mailbox.log.2", "f maildirsize", "f dovecot-uidlist.lock", "f cur/.nfs123", "f cur/.hidden"},
			[]string{`"" in "":`},
			0, 0,
		},
		{
			"control files only where they belong", PlusPlus,
			[]string{"f dovecot-uidlist", "f dovecot-uidvalidity", "f dovecot-uidvalidity.5cc98a9b", "f subscriptions", "f .a/dovecot-keywords", "f .a/subscriptions", "f .a/dovecot-uidvalidity"},
			[]string{`"" in "": /m/dovecot-uidlist /m/dovecot-uidvalidity /m/dovecot-uidvalidity.5cc98a9b /m/subscriptions`, `".a" in ".a": /m/.a/dovecot-keywords`},
			2, 0,
		},
		{
			"links and what is no mail", PlusPlus,
			[]string{"l cur/1", "p cur/2", "l .Etc", "l dovecot-uidlist", "d other", "f notes.txt", "d cur/sub", "d ..DOVECOT-TRASHED"},
			[]string{`"" in "":`},
			8, 0,
		},
		{
			"fs", FS,
			[]string{"d cur", "f cur/1", "d A", "d A/B", "d A/B/cur", "f A/B/cur/2", "f v1.0/cur/3", "f A/B/dovecot-uidlist", "f A/B/tmp/x"},
			[]string{`"" in "": cur/1`, `".A.B" in "A/B": A/B/cur/2 /m/A/B/dovecot-uidlist`, `".v1\\2e0" in "v1.0": v1.0/cur/3`},
			0, 0,
		},
		{
			"two folders of one name", FS,
			[]string{"f cur/1", "f INBOX/cur/2", "d Empty", "d Empty/cur"},
			[]string{`"" in "": cur/1`, `".Empty" in "Empty":`},
			0, 1,
		},
		{"a line's end in a name", PlusPlus, []string{"f cur/a\nb"}, []string{"\"\" in \"\": cur/a\nb"}, 0, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			tree := treeOf(t, test.layout, test.entries...)
			if diff := cmp.Diff(test.want, summary(tree)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if len(tree.Left) != test.left || len(tree.Broken) != test.broken {
				t.Errorf("left %q, broken %q, want %d and %d", tree.Left, tree.Broken, test.left, test.broken)
			}
		})
	}
}

// TestAddControls: control files in a directory of their own replace those in the
// Maildir, which are of an earlier time.
func TestAddControls(t *testing.T) {
	for _, test := range []struct {
		layout        Layout
		mail, control []string
		want          []string
	}{
		{
			PlusPlus,
			[]string{"f cur/1", "f dovecot-uidlist", "f .Sent/cur/2", "f .Sent/maildirfolder", "f .Sent/dovecot-acl"},
			[]string{"d .INBOX", "f .INBOX/dovecot-uidlist", "f .Sent/dovecot-uidlist", "f subscriptions", "f dovecot-uidvalidity", "f .Gone/dovecot-uidlist"},
			[]string{
				`"" in "": cur/1 /c/.INBOX/dovecot-uidlist /c/dovecot-uidvalidity /c/subscriptions`,
				`".Sent" in ".Sent": .Sent/cur/2 /m/.Sent/dovecot-acl /c/.Sent/dovecot-uidlist /m/.Sent/maildirfolder`,
			},
		},
		{
			FS,
			[]string{"f cur/1", "f A/B/cur/2"},
			[]string{"f INBOX/dovecot-uidlist", "f A/B/dovecot-keywords", "f subscriptions"},
			[]string{`"" in "": cur/1 /c/INBOX/dovecot-uidlist /c/subscriptions`, `".A.B" in "A/B": A/B/cur/2 /c/A/B/dovecot-keywords`},
		},
	} {
		tree := treeOf(t, test.layout, test.mail...)
		if err := tree.AddControls("/c", entriesOf(test.control)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(test.want, summary(tree)); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", test.layout, diff)
		}
	}
}

func TestExpected(t *testing.T) {
	tree := treeOf(t, PlusPlus, "f cur/1,W=10:2,S", "f cur/2:2,", "f new/3", "f cur/a\nb", "f .Two/cur/x:2,", "f .Two/cur/x:2,S", "f dovecot-uidlist", "f subscriptions")
	s := State{
		Tree:   tree,
		Data:   map[string][]byte{"/m/dovecot-uidlist": []byte("3 V7 N5\n1 :1,W=10\n2 W20 :2\n"), "/m/subscriptions": []byte("Two\n")},
		Octets: map[ID]int64{{"", "3"}: 30},
	}
	want := []Expected{
		{Folder: "INBOX", Messages: 3, Unseen: 2, Octets: 60, UIDValidity: 7, UIDNext: 6},
		{Folder: "Two", Messages: -1, Unseen: 1, Octets: -1, Subscribed: true},
	}
	if diff := cmp.Diff(want, s.Expected()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
