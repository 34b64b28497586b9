package migrate

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"mailstack/migrate/maildir"
)

// Scripts that read files on the old server: their absolute paths come by
// standard input, each ended by NUL. A file that is gone is left out. The last
// word proves that nothing was cut off.
const (
	// readFiles writes a tar archive. -b1: no padding behind it.
	readFiles = `cd / && tar -b1 -cf - --no-recursion --hard-dereference --no-unquote --null -T - 2>/dev/null; printf 'the end'`
	// sumFiles writes lines of sha256sum(1).
	sumFiles = `cd / && xargs -0 sha256sum -b -- 2>/dev/null; printf 'the end'`
)

const theEnd = "the end"

// fetch reads files of the old server. Each may have no more octets than max says,
// by path: they grow while somebody uses them, but not at will.
func fetch(ctx context.Context, from Remote, slot int, max map[string]int64) (map[string][]byte, error) {
	data := make(map[string][]byte, len(max))
	if len(max) == 0 {
		return data, nil
	}
	stream, err := from.Stream(ctx, slot, relative(max), "sh", "-c", readFiles)
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	archive := tar.NewReader(stream)
	for {
		h, err := archive.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read files of %s: %w", from.Target(), err)
		}
		p := "/" + strings.TrimPrefix(h.Name, "./")
		limit, asked := max[p]
		if !asked || h.Typeflag != tar.TypeReg || h.Size > limit {
			return nil, fmt.Errorf("read files of %s: %.200q (type %c, %d octets) was not asked for", from.Target(), h.Name, h.Typeflag, h.Size)
		}
		content := make([]byte, h.Size)
		if _, err := io.ReadFull(archive, content); err != nil {
			return nil, fmt.Errorf("read files of %s: %.200q: %w", from.Target(), h.Name, err)
		}
		data[p] = content
	}
	rest, err := io.ReadAll(io.LimitReader(stream, 1<<16))
	if err == nil && strings.Trim(string(rest), "\x00") != theEnd {
		err = fmt.Errorf("cut off, or there is no GNU tar")
	}
	if err != nil {
		return nil, fmt.Errorf("read files of %s: %w", from.Target(), err)
	}
	return data, nil
}

// sums reads files on the old server and returns their checksums by path.
func sums(ctx context.Context, from Remote, slot int, paths map[string]int64) (map[string]maildir.Sum, error) {
	found := make(map[string]maildir.Sum, len(paths))
	if len(paths) == 0 {
		return found, nil
	}
	stream, err := from.Stream(ctx, slot, relative(paths), "sh", "-c", sumFiles)
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	lines := bufio.NewReaderSize(stream, 1<<16)
	for {
		line, err := lines.ReadSlice('\n')
		if err == io.EOF && string(line) == theEnd {
			return found, nil
		}
		if err == nil {
			err = parseSum(string(line), found)
		}
		if err != nil {
			return nil, fmt.Errorf("compare checksums with %s: %.200q: %w", from.Target(), line, err)
		}
	}
}

// parseSum reads "HEX *./PATH". A line that begins with a backslash has line ends
// and backslashes in the path escaped.
func parseSum(line string, into map[string]maildir.Sum) error {
	line = strings.TrimSuffix(line, "\n")
	rest, escaped := strings.CutPrefix(line, `\`)
	sum, p, found := strings.Cut(rest, " *./")
	var s maildir.Sum
	n, err := hex.Decode(s[:], []byte(sum[:min(len(sum), 2*len(s))]))
	if !found || err != nil || n != len(s) || len(sum) != 2*len(s) {
		return errors.New("not a checksum")
	}
	if escaped {
		p = strings.NewReplacer(`\\`, `\`, `\n`, "\n", `\r`, "\r").Replace(p)
	}
	into["/"+p] = s
	return nil
}

// relative is a list of absolute paths as the scripts want it.
func relative(paths map[string]int64) io.Reader {
	var list bytes.Buffer
	for p := range paths {
		fmt.Fprintf(&list, ".%s\x00", p)
	}
	return &list
}
