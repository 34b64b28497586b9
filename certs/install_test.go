package certs

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestInstall(t *testing.T) {
	dst := t.TempDir()
	files := []File{{"extra.pem", []byte("one")}, {"names", []byte("two")}}
	for _, want := range []bool{true, false} {
		if changed, err := Install(dst, files); err != nil || changed != want {
			t.Fatalf("Install = %v, %v; want %v", changed, err, want)
		}
	}
	if whole, err := Installed(dst, files); err != nil || !whole {
		t.Errorf("Installed = %v, %v", whole, err)
	}
	for _, f := range files {
		installed := filepath.Join(dst, f.Name)
		if content, err := os.ReadFile(installed); err != nil || !bytes.Equal(content, f.Content) {
			t.Errorf("%s: %q, %v", f.Name, content, err)
		}
		if info, _ := os.Stat(installed); info.Mode().Perm() != 0o600 {
			t.Errorf("mode %o", info.Mode().Perm())
		}
	}

	chmod(t, filepath.Join(dst, "names"), 0o644)
	if whole, err := Installed(dst, files); err != nil || whole {
		t.Errorf("a file that others can read is fine: %v, %v", whole, err)
	}
	if changed, err := Install(dst, files); err != nil || !changed {
		t.Errorf("a file that others can read was left: %v, %v", changed, err)
	}

	inside := filepath.Join(dst, "inside")
	if err := os.Mkdir(inside, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Tidy(dst, files); err == nil || err.Error() != inside+" does not belong there" {
		t.Errorf("a directory: %v", err)
	}
	remove(t, inside)
	fewer := files[:1]
	if whole, _ := Installed(dst, fewer); whole {
		t.Error("one file too many is fine")
	}
	if err := Tidy(dst, fewer); err != nil {
		t.Fatal(err)
	}
	if whole, err := Installed(dst, fewer); err != nil || !whole {
		t.Errorf("not tidied: %v, %v", whole, err)
	}
}

func TestInstallRefuses(t *testing.T) {
	files := []File{{ServerFile, []byte("new")}}
	if _, err := Install(filepath.Join(t.TempDir(), "missing"), files); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing directory: %v", err)
	}
	if _, err := Install(t.TempDir(), []File{{"../" + ServerFile, nil}}); err == nil {
		t.Error("left the directory")
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(t.TempDir(), link); err != nil {
		t.Fatal(err)
	}
	if _, err := Install(link, files); err == nil {
		t.Error("a link was followed")
	}

	// A link in the file's place is replaced, its target left alone.
	dst, victim := t.TempDir(), filepath.Join(t.TempDir(), "victim")
	if err := os.WriteFile(victim, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(victim, filepath.Join(dst, ServerFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := Install(dst, files); err != nil {
		t.Fatal(err)
	}
	if content, _ := os.ReadFile(victim); string(content) != "precious" {
		t.Error("a link was written through")
	}
}

// standIn is a root directory whose update-ca-certificates records how it was
// called and makes the bundle.
func standIn(t *testing.T) TrustStore {
	t.Helper()
	root := t.TempDir()
	for _, dir := range []string{"usr/local/share/ca-certificates", "usr/sbin", "etc/ssl/certs"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	script := "#!/bin/sh\ncd '" + root + "'\necho called $* >>calls\n" +
		"cat usr/local/share/ca-certificates/*.crt >etc/ssl/certs/ca-certificates.crt 2>/dev/null\necho done.\n"
	if err := os.WriteFile(filepath.Join(root, "usr/sbin/update-ca-certificates"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return TrustStore{Root: root, Stack: "demo"}
}

func TestTrustStore(t *testing.T) {
	store := standIn(t)
	dir, _ := renewed(t, example)
	authority, err := AuthorityPEM(dir)
	if err != nil {
		t.Fatal(err)
	}
	calls := func() []string {
		content, _ := os.ReadFile(filepath.Join(store.Root, "calls"))
		return strings.Split(strings.TrimSpace(string(content)), "\n")
	}

	change, err := store.Add(t.Context(), authority)
	if err != nil || change.Command == "" || change.Output != "done." {
		t.Fatalf("Add = %+v, %v", change, err)
	}
	if !strings.HasSuffix(change.File, "/usr/local/share/ca-certificates/mailstack-demo.crt") {
		t.Errorf("File = %s", change.File)
	}
	if info, err := os.Stat(change.File); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("%v %v", info, err)
	}
	if again, err := store.Add(t.Context(), authority); err != nil || again.Command != "" {
		t.Errorf("added twice: %+v, %v", again, err)
	}
	remove(t, filepath.Join(store.Root, "etc/ssl/certs/ca-certificates.crt"))
	if again, err := store.Add(t.Context(), authority); err != nil || again.Command == "" {
		t.Errorf("an interrupted Add was not finished: %+v, %v", again, err)
	}

	renew(t, dir, Names{Hostname: "mx.example.com"}, start, false)
	second, err := AuthorityPEM(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Add(t.Context(), second); err != nil {
		t.Errorf("the new CA: %v", err)
	}
	if _, err := store.Remove(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(change.File); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("not removed: %v", err)
	}
	if again, err := store.Remove(t.Context()); err != nil || again.Command != "" {
		t.Errorf("removed twice: %+v, %v", again, err)
	}
	if got, want := calls(), []string{"called", "called --fresh", "called --fresh", "called --fresh"}; !slices.Equal(got, want) {
		t.Errorf("calls %q, want %q", got, want)
	}
}

func TestTrustStoreRefuses(t *testing.T) {
	dir, _ := renewed(t, example)
	authority, err := AuthorityPEM(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (TrustStore{Root: t.TempDir(), Stack: "demo"}).Add(t.Context(), authority); err == nil || !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("another system: %v", err)
	}

	store := standIn(t)
	if err := os.WriteFile(store.File(), []byte("theirs"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Add(t.Context(), authority); err == nil || !strings.Contains(err.Error(), "is not a CA that mailstack made") {
		t.Errorf("Add over a foreign file: %v", err)
	}
	if _, err := store.Remove(t.Context()); err == nil {
		t.Error("a foreign file was removed")
	}
	remove(t, store.File())

	if err := os.WriteFile(filepath.Join(store.Root, "usr/sbin/update-ca-certificates"), []byte("#!/bin/sh\necho no space\nexit 3\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Add(t.Context(), authority); err == nil || !strings.HasSuffix(err.Error(), "exit status 3: no space") {
		t.Errorf("a failing command: %v", err)
	}

	if _, err := AuthorityPEM(t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no CA: %v", err)
	}
}
