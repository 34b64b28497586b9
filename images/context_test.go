package images

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
)

func TestServices(t *testing.T) {
	want := []string{"dovecot", "filter", "mysql", "postfix", "valkey"}
	if got := Services(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if _, _, err := Context("common", "base"); err == nil {
		t.Error("common is no service, and yet has a context")
	}
}

func TestContextDigest(t *testing.T) {
	first, digest, err := Context("mysql", "base:1")
	if err != nil {
		t.Fatal(err)
	}
	again, same, err := Context("mysql", "base:1")
	if err != nil {
		t.Fatal(err)
	}
	if digest != same || !bytes.Equal(first, again) {
		t.Error("the same context twice differs")
	}
	if len(digest) != 64 {
		t.Errorf("digest %q is not 64 digits long", digest)
	}
	if _, other, _ := Context("mysql", "base:2"); other == digest {
		t.Error("another base gives the same digest")
	}
	seen := map[string]string{}
	for _, service := range Services() {
		_, digest, err := Context(service, "base:1")
		if err != nil {
			t.Fatal(err)
		}
		if before, ok := seen[digest]; ok {
			t.Errorf("%s and %s have the same digest", before, service)
		}
		seen[digest] = service
	}
}

func TestContextEntries(t *testing.T) {
	for _, service := range Services() {
		archive, _, err := Context(service, "base")
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for r := tar.NewReader(bytes.NewReader(archive)); ; {
			h, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, h.Name)
			if h.Uid != 0 || h.Gid != 0 || h.Uname != "" || h.ModTime.Unix() != 0 {
				t.Errorf("%s: %s: owner %d:%d %q, time %v", service, h.Name, h.Uid, h.Gid, h.Uname, h.ModTime)
			}
			executable := strings.HasSuffix(h.Name, "/") ||
				strings.Contains(h.Name, "/bin/") || strings.Contains(h.Name, "/sbin/")
			if executable && h.Mode != 0o755 || !executable && h.Mode != 0o644 {
				t.Errorf("%s: %s has mode %o", service, h.Name, h.Mode)
			}
		}
		if !slices.IsSorted(names) {
			t.Errorf("%s: not sorted: %q", service, names)
		}
		for _, want := range []string{
			"Dockerfile", "common/", "rootfs/",
			"common/usr/local/sbin/mailstack-users", "rootfs/usr/local/bin/mailstack-health",
		} {
			if !slices.Contains(names, want) {
				t.Errorf("%s: no %s", service, want)
			}
		}
		// A file of one name in both would be another program in this image alone.
		for _, n := range names {
			if own, common := strings.CutPrefix(n, "common/"); common && !strings.HasSuffix(n, "/") && slices.Contains(names, "rootfs/"+own) {
				t.Errorf("%s: its own %s takes the place of the common one", service, own)
			}
		}
		if i := slices.IndexFunc(names, func(n string) bool {
			return strings.HasPrefix(n, "config/") || strings.HasPrefix(n, "secret/")
		}); i >= 0 {
			t.Errorf("%s: the context holds the template %s", service, names[i])
		}
	}
}
