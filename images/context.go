package images

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"
)

// Context returns the build context of a service's image as a tar archive and
// its digest: 64 hexadecimal digits that change whenever the archive, the
// service's name or base changes. base identifies the image that is built upon,
// as a reference or an id.
//
// The archive is the same for every build of this binary from the same files:
// entries sorted, owner 0:0, times zero, modes by rule.
func Context(service, base string) (archive []byte, digest string, err error) {
	if err := checkService(service); err != nil {
		return nil, "", err
	}
	entries, err := contextEntries(service)
	if err != nil {
		return nil, "", fmt.Errorf("read build context of %s: %w", service, err)
	}
	archive, err = writeTar(entries)
	if err != nil {
		return nil, "", fmt.Errorf("write build context of %s: %w", service, err)
	}
	hash := sha256.New()
	// A NUL occurs in no name, so no two inputs run together.
	fmt.Fprintf(hash, "%s\x00%s\x00", service, base)
	hash.Write(archive)
	return archive, hex.EncodeToString(hash.Sum(nil)), nil
}

// entry is a file or, with a name ending in a slash, a directory.
type entry struct {
	name string
	data []byte
}

func contextEntries(service string) ([]entry, error) {
	dockerfile, err := embedded.ReadFile(path.Join(service, "Dockerfile"))
	if err != nil {
		return nil, err
	}
	entries := []entry{{name: "Dockerfile", data: dockerfile}}
	for _, tree := range []struct{ from, to string }{
		{path.Join(commonDir, "rootfs"), "common"},
		{path.Join(service, "rootfs"), "rootfs"},
	} {
		files, err := treeEntries(tree.from, tree.to)
		if err != nil {
			return nil, err
		}
		entries = append(entries, files...)
	}
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	return entries, nil
}

// treeEntries lists what is below the embedded directory from under the name
// to. The top is listed even if there is no such directory: a COPY of a name
// that the context lacks is an error.
func treeEntries(from, to string) ([]entry, error) {
	if _, err := fs.Stat(embedded, from); errors.Is(err, fs.ErrNotExist) {
		return []entry{{name: to + "/"}}, nil
	}
	var entries []entry
	err := fs.WalkDir(embedded, from, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		target := to + strings.TrimPrefix(name, from)
		if d.IsDir() {
			entries = append(entries, entry{name: target + "/"})
			return nil
		}
		data, err := embedded.ReadFile(name)
		entries = append(entries, entry{name: target, data: data})
		return err
	})
	return entries, err
}

func writeTar(entries []entry) ([]byte, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range entries {
		h := &tar.Header{
			Typeflag: tar.TypeReg, Name: e.name, Size: int64(len(e.data)),
			Mode: fileMode(e.name), ModTime: time.Unix(0, 0), Format: tar.FormatPAX,
		}
		if strings.HasSuffix(e.name, "/") {
			h.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(e.data); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// fileMode is executable for directories and for programs, which are the files
// below a directory named bin or sbin.
func fileMode(name string) int64 {
	if strings.HasSuffix(name, "/") {
		return 0o755
	}
	for _, dir := range strings.Split(path.Dir(name), "/") {
		if dir == "bin" || dir == "sbin" {
			return 0o755
		}
	}
	return 0o644
}
