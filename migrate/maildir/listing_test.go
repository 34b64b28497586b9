package maildir

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// list runs the script on pairs of a kind and a path.
func list(t *testing.T, pairs ...string) *Reader {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-c", List)
	cmd.Stdin = strings.NewReader(strings.Join(pairs, "\x00") + "\x00")
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, said.Bytes())
	}
	return NewReader(bytes.NewReader(out))
}

// root reads one root and returns its entries as TYPE SIZE PATH.
func root(t *testing.T, r *Reader) (string, []string) {
	t.Helper()
	at, err := r.Root()
	if err != nil {
		return err.Error(), nil
	}
	var lines []string
	for {
		e, err := r.Next()
		if err == io.EOF {
			return at, lines
		}
		if err != nil {
			return at, append(lines, err.Error())
		}
		if e.Type == 'd' {
			e.Size = 0
		}
		lines = append(lines, fmt.Sprintf("%c %d %s", e.Type, e.Size, e.Path))
	}
}

func make1(t *testing.T, dir string, paths ...string) {
	t.Helper()
	for _, p := range paths {
		p = filepath.Join(dir, p)
		if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(filepath.Base(p)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestList: what may be mail is listed, links are not followed, names are what
// they are, and one root that is not there does not spoil the next.
func TestList(t *testing.T) {
	dir := t.TempDir()
	weird := "a \"b'\\c\n$(touch owned)%s"
	box := filepath.Join(dir, weird)
	make1(t, box, "cur/1:2,S", "cur/li\nne", "new/2", "tmp/3", ".Sent/cur/4", "elsewhere/cur/5", ".Sent/deep/er", "dovecot-uidlist", "cur/dir/6")
	for link, target := range map[string]string{".Etc": "/etc", "cur/link": "/etc/passwd", ".Sent/new": "/"} {
		if err := os.Symlink(target, filepath.Join(box, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(weird, filepath.Join(dir, "there")); err != nil {
		t.Fatal(err)
	}
	make1(t, dir, "fs/cur/1", "fs/A/B/cur/2", "fs/A/tmp/3", "fs/A/B/cur/x/cur/4", "file", "sieve/a.sieve", "sieve/sub/b.sieve")
	if err := os.Symlink("/any/../thing\n", filepath.Join(dir, "active")); err != nil {
		t.Fatal(err)
	}
	r := list(t,
		"maildir++", filepath.Join(dir, "there"), "maildir++", filepath.Join(dir, "none"), "fs", filepath.Join(dir, "fs"),
		"maildir++", filepath.Join(dir, "file"), "flat", filepath.Join(dir, "sieve"), "file", filepath.Join(dir, "active"),
		"file", filepath.Join(dir, "file"), "file", filepath.Join(dir, "none"))
	for _, want := range []struct {
		root    string
		entries []string
	}{
		{box, []string{
			"d 0 cur", "f 5 cur/1:2,S", "f 5 cur/li\nne", "l 11 cur/link", "d 0 cur/dir", "d 0 new", "f 1 new/2", "d 0 tmp",
			"d 0 .Sent", "d 0 .Sent/cur", "f 1 .Sent/cur/4", "l 1 .Sent/new", "d 0 .Sent/deep", "d 0 elsewhere",
			"f 15 dovecot-uidlist", "l 4 .Etc",
		}},
		{ErrNoRoot.Error(), nil},
		{filepath.Join(dir, "fs"), []string{
			"d 0 cur", "f 1 cur/1", "d 0 A", "d 0 A/B", "d 0 A/B/cur", "f 1 A/B/cur/2", "d 0 A/B/cur/x", "d 0 A/tmp",
		}},
		{ErrClosed.Error(), nil},
		{filepath.Join(dir, "sieve"), []string{"f 7 a.sieve", "d 0 sub"}},
		{filepath.Join(dir, "active"), []string{"L 14 /any/../thing\n"}},
		{filepath.Join(dir, "file"), []string{"f 4 file"}},
		{ErrNoRoot.Error(), nil},
	} {
		at, entries := root(t, r)
		if at != want.root {
			t.Errorf("root %q, want %q", at, want.root)
		}
		if diff := cmp.Diff(sorted(want.entries), sorted(entries)); diff != "" {
			t.Errorf("%q: (-want +got)\n%s", at, diff)
		}
	}
	if _, err := r.Root(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("there is something behind the last root: %v", err)
	}
}

func sorted(lines []string) map[string]bool {
	all := make(map[string]bool)
	for _, l := range lines {
		all[l] = true
	}
	return all
}

// TestReaderHostile: nothing but a listing is taken for one.
func TestReaderHostile(t *testing.T) {
	const begin, end = "> /m\x00", "< 0\x00"
	for _, bad := range []string{
		"", ">", "> \x00", "> /\x00", "> m\x00", "> /a/../b\x00", "> //a\x00", "x\x00",
		begin, begin + "f 1 1.0 a", begin + "f 1 1.0\x00" + end, begin + "f -1 1.0 a\x00" + end, begin + "f 1 x a\x00" + end,
		begin + "f 1 1.0 ../a\x00" + end, begin + "f 1 1.0 /a\x00" + end, begin + "f 1 1.0 a//b\x00" + end, begin + "f 1 1.0 a/.\x00" + end,
		begin + "f 1 1.0 \x00" + end, begin + "ff 1 1.0 a\x00" + end, begin + "f 1 1.-1 a\x00" + end, begin + "f 99999999999999999999 1.0 a\x00" + end,
		begin + "f 1 1.0 " + strings.Repeat("n", 256) + "\x00" + end, begin + strings.Repeat("n", 1<<17),
		begin + "< 1\x00", begin + "< \x00",
	} {
		r := NewReader(strings.NewReader(bad))
		_, err := r.Root()
		for err == nil {
			_, err = r.Next()
		}
		if err == io.EOF {
			t.Errorf("%.100q was taken for a listing", bad)
		}
	}
}

func FuzzTree(f *testing.F) {
	f.Add([]byte("> /m\x00d 0 1.5 cur\x00f 1 1.0 cur/1:2,S\x00f 3 9.9999999999 .Sent/cur/2\x00l 1 1.0 x\x00f 1 1.0 dovecot-uidlist\x00< 0\x00"), true)
	f.Add([]byte("> /m\x00f 1 -1.0 A/B/new/1\x00f 1 1.0 INBOX/cur/2\x00f 1 1.0 subscriptions\x00< 0\x00"), false)
	f.Fuzz(func(t *testing.T, data []byte, fs bool) {
		r := NewReader(bytes.NewReader(data))
		at, err := r.Root()
		if err != nil {
			return
		}
		layout := PlusPlus
		if fs {
			layout = FS
		}
		tree, err := ReadTree(at, layout, r.Next)
		if err != nil {
			return
		}
		seen := make(map[string]bool)
		for i := range tree.Folders {
			f := &tree.Folders[i]
			if seen[f.Key] || f.Key != "" && strings.Contains(f.Key, "/") {
				t.Errorf("folder %q has the key %q", f.Dir, f.Key)
			}
			seen[f.Key] = true
			for _, m := range f.Messages {
				if p := f.Path(at, m); !strings.HasPrefix(p, at+"/") || checkPath(p[len(at)+1:]) != nil {
					t.Errorf("message at %q", p)
				}
			}
		}
		state := State{Tree: tree}
		state.Expected()
		if all := Compare(state, state); len(all) > 0 {
			t.Errorf("it differs from itself: %v", all)
		}
	})
}
