package migrate

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestCopyDir: files and directories come, nobody else may read them, and what
// is no file does not come, wherever it leads.
func TestCopyDir(t *testing.T) {
	w := newWorld(t)
	from, into := filepath.Join(w.old, "it's a [dir]"), t.TempDir()
	w.write(filepath.Join(from, "ibdata1"), "data")
	w.write(filepath.Join(from, "mail", "mailbox.ibd"), "rows")
	w.write(filepath.Join(from, "mysql-bin.000001"), "log")
	w.write(filepath.Join(from, "mail", "mysql-bin.000001"), "no log")
	for link, to := range map[string]string{"passwd": "/etc/passwd", "etc": "/etc"} {
		if err := os.Symlink(to, filepath.Join(from, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(from, "ibdata1"), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := CopyDir(t.Context(), w.host, from, into, os.Getuid(), "/*-bin.[0-9]*"); err != nil {
		t.Fatal(err)
	}
	var got []string
	err := filepath.WalkDir(into, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == into {
			return err
		}
		info, err := d.Info()
		got = append(got, p[len(into)+1:]+" "+info.Mode().String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(got)
	want := []string{"ibdata1 -rw-------", "mail drwx------", "mail/mailbox.ibd -rw-------", "mail/mysql-bin.000001 -rw-------"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("copied (-want +got):\n%s", diff)
	}
	err = CopyDir(t.Context(), w.host, filepath.Join(w.old, "none"), into, os.Getuid())
	if failed := new(RsyncError); !errors.As(err, &failed) {
		t.Errorf("a directory that is not there: %v", err)
	}
}
