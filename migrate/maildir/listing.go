package maildir

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// Bounds of a listing, which a hostile server writes.
const (
	maxEntries = 5_000_000 // of one mailbox: some 300 octets of memory each
	maxPath    = 4096      // octets, PATH_MAX of Linux
	maxName    = 255       // octets, NAME_MAX of Linux
)

// Entry is a line of a listing: something below a root.
type Entry struct {
	Path string // relative to the root, without "." and ".."
	Type byte   // 'f' for a regular file, 'd' for a directory, TargetType, or another letter of find's %y
	Size int64  // octets
	Sec  int64  // modification time, seconds since 1970
	Nsec int32
	Mode uint32 // permissions, of a file of this machine; 0: not known
}

// TargetType is the type of a link whose path is not its own but what it points
// to, which may be anything.
const TargetType = 'L'

// A Reader reads listings made by the script List.
type Reader struct {
	r     *bufio.Reader
	count int
}

// NewReader returns a reader of listings.
func NewReader(r io.Reader) *Reader { return &Reader{r: bufio.NewReaderSize(r, 1<<16)} }

// Errors of Reader.Root, after which the next root may be read.
var (
	ErrNoRoot = errors.New("there is no such directory")
	ErrClosed = errors.New("it is not a directory that could be entered")
)

// ErrIncomplete is the error of Reader.Next at the end of a root of which a part
// could not be read. The next root may be read.
var ErrIncomplete = errors.New("a directory in it could not be read")

// Root reads where the next root physically is. Its error is ErrNoRoot where
// there is none and ErrClosed where it cannot be entered; any other is the end of
// everything.
func (r *Reader) Root() (string, error) {
	record, err := r.record()
	if err != nil {
		return "", err
	}
	switch {
	case record == "?":
		return "", ErrNoRoot
	case record == "!":
		return "", ErrClosed
	}
	root, found := strings.CutPrefix(record, "> /")
	if !found || checkPath(root) != nil {
		return "", fmt.Errorf("read listing: %.100q where a root should begin", record)
	}
	r.count = 0
	return "/" + root, nil
}

// Next reads the next entry of the root; io.EOF is its end, ErrIncomplete that of
// one that was not listed whole. Any other error is the end of everything.
func (r *Reader) Next() (Entry, error) {
	record, err := r.record()
	if err != nil {
		return Entry{}, err
	}
	if status, ended := strings.CutPrefix(record, "< "); ended {
		if status != "0" {
			return Entry{}, ErrIncomplete
		}
		return Entry{}, io.EOF
	}
	if r.count++; r.count > maxEntries {
		return Entry{}, fmt.Errorf("read listing: more than %d files in one mailbox", maxEntries)
	}
	e, err := parseEntry(record)
	if err != nil {
		return Entry{}, fmt.Errorf("read listing: %.200q: %w", record, err)
	}
	return e, nil
}

func (r *Reader) record() (string, error) {
	var record []byte
	for {
		part, err := r.r.ReadSlice(0)
		record = append(record, part...)
		switch {
		case err == nil:
			return string(record[:len(record)-1]), nil
		case len(record) > 2*maxPath:
			return "", fmt.Errorf("read listing: %.100q… is too long", record)
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF):
			return "", fmt.Errorf("read listing: %w", io.ErrUnexpectedEOF)
		default:
			return "", fmt.Errorf("read listing: %w", err)
		}
	}
}

// parseEntry reads "TYPE SIZE SECONDS.FRACTION PATH".
func parseEntry(record string) (Entry, error) {
	fields := strings.SplitN(record, " ", 4)
	if len(fields) != 4 || len(fields[0]) != 1 {
		return Entry{}, errors.New("not four fields")
	}
	e := Entry{Type: fields[0][0], Path: fields[3]}
	var err error
	if e.Size, err = strconv.ParseInt(fields[1], 10, 64); err != nil || e.Size < 0 {
		return Entry{}, errors.New("no size")
	}
	seconds, fraction, _ := strings.Cut(fields[2], ".")
	if e.Sec, err = strconv.ParseInt(seconds, 10, 64); err != nil {
		return Entry{}, errors.New("no time")
	}
	if len(fraction) > 9 {
		fraction = fraction[:9]
	}
	for len(fraction) < 9 {
		fraction += "0"
	}
	nsec, err := strconv.ParseUint(fraction, 10, 32)
	if err != nil {
		return Entry{}, errors.New("no time")
	}
	e.Nsec = int32(nsec)
	if e.Type == TargetType {
		return e, nil
	}
	return e, checkPath(e.Path)
}

// checkPath refuses paths that could lead out of their root.
func checkPath(p string) error {
	if len(p) > maxPath {
		return errors.New("too long a path")
	}
	for name := range strings.SplitSeq(p, "/") {
		switch {
		case name == "" || name == "." || name == ".." || strings.ContainsRune(name, 0):
			return errors.New("not a path below the root")
		case len(name) > maxName:
			return errors.New("too long a name")
		}
	}
	return nil
}

// List is a script for sh(1) that lists what is below roots. It reads pairs of a
// kind and a path, each ended by NUL: "maildir++" or "fs" for a Maildir of that
// layout, "flat" for a directory without those in it, "file" for itself. It
// follows no links but those that lead to the root. It needs GNU find.
//
// For each root it writes "?" where there is nothing, "!" where it cannot be
// entered, or "> PATH", with links in it resolved, then a record for each entry, then "< STATUS" of find; each ended
// by NUL. A link that is a "file" has the type L, and as its path what it points
// to.
const List = `LC_ALL=C; export LC_ALL
xargs -0 -n 100 sh -c '
list() {
	kind=$1 root=$2 name=.
	if [ "$kind" = file ]; then
		name=${root##*/} root=${root%/*}/
		[ -e "$root$name" ] || [ -L "$root$name" ] || { printf "?\0"; return; }
	fi
	cd -P -- "$root" 2>/dev/null || { if [ -e "$root" ]; then printf "!\0"; else printf "?\0"; fi; return; }
	physical=$(pwd -P; echo .)
	physical=${physical%??}
	[ "$kind" = file ] && physical=${physical%/}/$name
	printf "> %s\0" "$physical"
	line="%y %s %T@ %P\0"
	case $kind in
	maildir++) find . -ignore_readdir_race -mindepth 1 -maxdepth 3 -printf "$line" -type d ! -name cur ! -name new ! -name ".*" -prune ;;
	fs) find . -ignore_readdir_race -mindepth 1 -maxdepth 40 -printf "$line" -type d "(" -name tmp -o -path "*/cur/*" -o -path "*/new/*" ")" -prune ;;
	flat) find . -ignore_readdir_race -mindepth 1 -maxdepth 1 -printf "$line" ;;
	file) find "./$name" -ignore_readdir_race -maxdepth 0 -type l -printf "L %s %T@ %l\0" -o -printf "%y %s %T@ %f\0" ;;
	*) false ;;
	esac
	printf "< %s\0" $?
}
while [ $# -gt 0 ]; do list "$1" "$2"; shift 2; done
' sh
`

// ModTime is the modification time.
func (e Entry) ModTime() time.Time { return time.Unix(e.Sec, int64(e.Nsec)) }
