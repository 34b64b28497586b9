package migrate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os/exec"
	"regexp"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// rsync 3.1 is the first that has --chown, --ignore-missing-args and times in
// nanoseconds (NEWS of 2013-09-28).
const rsyncMajor, rsyncMinor = 3, 1

const rsyncProgram = "rsync"

var rsyncVersion = regexp.MustCompile(`^rsync +version v?(\d+)\.(\d+)`)

// OldRsyncError is an rsync that is too old, or none.
type OldRsyncError struct {
	Where string
	Said  string
}

func (e *OldRsyncError) Error() string {
	return fmt.Sprintf("check rsync on %s: want version %d.%d or later, it says %.100q", e.Where, rsyncMajor, rsyncMinor, e.Said)
}

// Hint says what to do.
func (e *OldRsyncError) Hint() string { return "install a newer rsync on " + e.Where }

// CheckRsync says what is wrong with the rsync of this machine.
func CheckRsync(ctx context.Context) error { return checkOwnRsync(ctx, rsyncProgram) }

func checkOwnRsync(ctx context.Context, program string) error {
	if _, err := exec.LookPath(program); err != nil {
		return &NoRsyncError{err}
	}
	said, err := exec.CommandContext(ctx, program, "--version").Output()
	if err != nil {
		return fmt.Errorf("check rsync on this machine: %w", err)
	}
	return CheckRsyncVersion("this machine", string(said))
}

// checkRsync looks at the rsync of both sides.
func checkRsync(ctx context.Context, program string, from Remote) error {
	if err := checkOwnRsync(ctx, program); err != nil {
		return err
	}
	stream, err := from.Stream(ctx, 0, nil, "rsync", "--version")
	if err != nil {
		return fmt.Errorf("check rsync on %s: %w", from.Target(), err)
	}
	defer stream.Close()
	said, err := io.ReadAll(io.LimitReader(stream, 1<<16))
	if err != nil {
		return fmt.Errorf("check rsync on %s: %w", from.Target(), err)
	}
	return CheckRsyncVersion(from.Target(), string(said))
}

// CheckRsyncVersion says whether what `rsync --version` said on a machine is of one
// that is too old, or of none: *OldRsyncError.
func CheckRsyncVersion(where, said string) error {
	found := rsyncVersion.FindStringSubmatch(said)
	if found == nil {
		return &OldRsyncError{where, said}
	}
	major, _ := strconv.Atoi(found[1])
	minor, _ := strconv.Atoi(found[2])
	if major < rsyncMajor || major == rsyncMajor && minor < rsyncMinor {
		return &OldRsyncError{where, found[0]}
	}
	return nil
}

// SpaceError is a file system that is too small for what there is to copy.
type SpaceError struct {
	Path       string
	Need, Free int64 // octets
}

func (e *SpaceError) Error() string {
	return fmt.Sprintf("copy mail to %s: it needs %d MiB, and %d MiB are free", e.Path, e.Need>>20, e.Free>>20)
}

// Hint says what to do.
func (e *SpaceError) Hint() string {
	return "make room, or put the mail on a larger disk ([data] vmail in mailstack.toml)"
}

// fileRoom is what a file takes on a disk beyond its octets, on average: half a
// block of 4 KiB, an inode of 256 octets and two names.
const fileRoom = 2048 + 256 + 128

// room refuses to begin what cannot end.
func (m *Migration) room(pending Amount) error {
	var st unix.Statfs_t
	if err := unix.Fstatfs(m.volume.fd(), &st); err != nil {
		return m.volume.fail("look at file system of", "", err)
	}
	free := int64(st.Bavail) * st.Bsize
	if need := pending.Bytes + pending.Messages*fileRoom; need > free {
		return &SpaceError{m.To.Volume, need, free}
	}
	return nil
}

// Brought is what earlier runs have brought into a mail volume from an old server, so
// that it needs no room any more: the octets that lie in the volume, and the accounts
// whose move has ended.
func Brought(volume, target string) (octets int64, opened []string, err error) {
	v, err := openTrusted(volume)
	if err != nil {
		return 0, nil, err
	}
	defer v.close()
	work, err := v.sub(workName)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil, nil
	}
	if err != nil {
		return 0, nil, err
	}
	defer work.close()
	s, err := readState(work, time.Time{})
	if err != nil {
		return 0, nil, err
	}
	mirror, err := work.sub(mirrorName(target))
	if err == nil {
		octets, err = mirror.octets()
		mirror.close()
	}
	if errors.Is(err, fs.ErrNotExist) { // all have been opened, or it has just gone
		err = nil
	}
	return octets, s.Opened[target], err
}

// octets are those of all files below a directory.
func (d *dir) octets() (sum int64, err error) {
	names, err := d.names()
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		st, err := d.stat(name)
		if err != nil {
			return sum, err
		}
		if typeOf(st.Mode) != 'd' {
			sum += st.Size
			continue
		}
		sub, err := d.sub(name)
		if err != nil {
			return sum, err
		}
		below, err := sub.octets()
		sub.close()
		if sum += below; err != nil {
			return sum, err
		}
	}
	return sum, nil
}
