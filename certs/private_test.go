package certs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca", "acme", "ca.example")
	if _, err := OpenPrivate(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("opened: %v", err)
	}
	p, err := MakePrivate(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Read("record"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("read: %v", err)
	}
	for _, content := range []string{"one", "two"} {
		if err := p.Write("record", []byte(content)); err != nil {
			t.Fatal(err)
		}
		if got, err := p.Read("record"); err != nil || string(got) != content {
			t.Errorf("read %q, %v", got, err)
		}
	}
	half := filepath.Join(dir, ".record"+temporaryMark+"X")
	if err := os.WriteFile(half, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(p.File("record"), 0o644); err != nil {
		t.Fatal(err)
	}
	var problem Problem
	if _, err := p.Read("record"); !errors.As(err, &problem) {
		t.Errorf("read what others can read: %v", err)
	}
	p.Close()
	if p, err = MakePrivate(dir); err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, err := os.Stat(half); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what a killed run left is still there: %v", err)
	}
	for path, want := range map[string]fs.FileMode{dir: 0o700, filepath.Dir(dir): 0o700, filepath.Dir(filepath.Dir(dir)): 0o700} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v %v", path, info.Mode(), err)
		}
	}
}

func TestReadSecret(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "secret"), filepath.Join(dir, "link")
	if err := os.WriteFile(file, []byte("s3cret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	linked := filepath.Join(t.TempDir(), "etc")
	if err := os.Symlink(dir, linked); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, filepath.Join(linked, "secret")} {
		if content, err := ReadSecret(path); err != nil || string(content) != "s3cret" {
			t.Errorf("%s: %q %v", path, content, err)
		}
	}
	open := filepath.Join(dir, "open")
	if err := os.WriteFile(open, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "missing"):        "does not exist",
		filepath.Join(dir, "gone", "secret"): "does not exist",
		link:                                 "is a symbolic link, which is not followed",
		dir:                                  "is not a plain file",
		open:                                 "holds a secret and can be read by others (mode 0644)",
	} {
		_, err := ReadSecret(path)
		var problem Problem
		if !errors.As(err, &problem) || problem.File != path || !strings.HasPrefix(problem.Text, want) || problem.Advice == "" {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
}
