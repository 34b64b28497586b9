package migrate

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// rsyncSilence is how long an rsync may hear nothing before it gives up.
	rsyncSilence = 2 * time.Minute
	// rsyncGrace is how long it has to tidy up when it is told to stop.
	rsyncGrace = 5 * time.Second
)

// copier copies files of the old server into the mirror.
type copier struct {
	from   Remote
	mirror *dir
	owner  owner
	chown  bool // false where we are not root, in tests
	kbytes int  // KiB/s for one rsync; 0: no limit
	// program is rsync.
	program string
	retries []time.Duration // pauses before a chunk is tried again
}

// RsyncError is an rsync that failed.
type RsyncError struct {
	Status int    // exit code, rsync(1); -1 where there is none
	Said   string // the lines of standard error that tell most
}

func (e *RsyncError) Error() string {
	text := fmt.Sprintf("rsync ended with %d (%s)", e.Status, rsyncStatus(e.Status))
	if e.Said != "" {
		text += ": " + e.Said
	}
	return text
}

// Hint says what to do.
func (e *RsyncError) Hint() string {
	switch {
	case strings.Contains(e.Said, "No space left on device"):
		return "make room on the file system of the mail volume and run the same command again: what was copied is kept"
	case e.Status == statusNotFound || strings.Contains(e.Said, "rsync: not found") || strings.Contains(e.Said, "rsync: command not found"):
		return "install rsync on the old server"
	case e.lost():
		return "run the same command again: what was copied is kept"
	}
	return ""
}

// Exit codes of rsync(1), and of a shell.
const (
	statusProtocol = 12 // the other end is gone, or says what it should not
	statusPartial  = 23 // some files could not be copied
	statusVanished = 24 // some files were gone before they were copied
	statusSilence  = 30
	statusNotFound = 127
	statusSSH      = 255
)

func rsyncStatus(status int) string {
	switch status {
	case 1, 2, 4:
		return "the two rsync do not understand each other"
	case 3, 11:
		return "a file could not be read or written"
	case 5, 10, statusProtocol, statusSSH:
		return "the connection broke"
	case statusPartial:
		return "some files could not be copied"
	case statusSilence, 35:
		return "the old server fell silent"
	case 20:
		return "interrupted"
	case statusNotFound:
		return "no rsync on the old server"
	case -1:
		return "killed"
	}
	return "see rsync(1)"
}

// lost says whether it failed for a reason that may pass.
func (e *RsyncError) lost() bool {
	switch e.Status {
	case 10, statusProtocol, statusSilence, 35, statusSSH:
		return !strings.Contains(e.Said, "No space left") && !strings.Contains(e.Said, "not found")
	}
	return false
}

// arguments are rsync's. Messages never change, so a file is always sent whole
// (-W), and into its place (--inplace): it gets its date when it is whole, and one
// without it is copied again. -s keeps the shell there from the directory's name.
// Without --perms, a mode is given to new files only.
func (c *copier) arguments(slot int, k chunk) []string {
	args := append([]string{}, c.from.RsyncShell(slot)...)
	args = append(
		args, "-s", "--dirs", "--whole-file", "--inplace", "--times", "--omit-dir-times", fmt.Sprintf("--chmod=F%o", unproven),
		"--timeout="+strconv.Itoa(int(rsyncSilence.Seconds())),
		// %b makes it tell of a file when it is there, not when it begins.
		"--out-format=%i %l %b %n", "--outbuf="+k.buffering(),
	)
	if c.chown {
		args = append(args, "--numeric-ids", "--owner", "--group", fmt.Sprintf("--chown=%d:%d", c.owner.uid, c.owner.gid))
	}
	if c.kbytes > 0 {
		args = append(args, "--bwlimit="+strconv.Itoa(c.kbytes))
	}
	if k.whole {
		args = append(args, "--exclude=.*", "--exclude=*/")
	} else {
		args = append(args, "--files-from=-", "--from0", "--no-implied-dirs", "--ignore-missing-args", "--ignore-times")
	}
	return append(args, c.from.RsyncPath("/"+k.dir+"/"), c.mirror.f.Name()+"/"+k.dir+"/")
}

// buffering is how rsync writes what it tells: a line at a time where each counts,
// else in blocks, as forty thousand small messages would wake us forty thousand
// times (10 s of system time, measured on two busy cores).
func (k chunk) buffering() string {
	const large = 256 << 10
	if k.cost/int64(len(k.files)) >= large {
		return "L"
	}
	return "B"
}

// copy copies a chunk, by one rsync. copied is told of each file that has arrived.
// Files that are gone meanwhile are no error.
func (c *copier) copy(ctx context.Context, slot int, k chunk, copied func(Amount)) error {
	if err := c.from.Open(ctx, slot); err != nil {
		return err
	}
	var stdin io.Reader
	if !k.whole {
		stdin = names(k)
	}
	err := runRsync(ctx, c.program, c.arguments(slot, k), stdin, func(stdout io.Reader) error {
		return readCopied(stdout, k.dir, copied)
	})
	var failed *RsyncError
	if errors.As(err, &failed) && failed.Status == statusVanished {
		return nil
	}
	return err
}

// runRsync runs an rsync to its end and reads what it tells. One that fails is an
// *RsyncError.
func runRsync(ctx context.Context, program string, args []string, stdin io.Reader, read func(stdout io.Reader) error) error {
	cmd := exec.CommandContext(ctx, program, args...)
	// A group of its own: an interrupt at the terminal is ours to handle.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = rsyncGrace
	cmd.Stdin = stdin
	said := &complaints{}
	cmd.Stderr = said
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return fmt.Errorf("start rsync: %w", err)
	}
	readErr := read(stdout)
	err = cmd.Wait()
	if cause := ctx.Err(); cause != nil {
		return cause
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return &RsyncError{Status: exit.ExitCode(), Said: said.String()}
	}
	return errors.Join(err, readErr)
}

// names is what rsync reads: the paths of files below the chunk's directory, each
// ended by NUL.
func names(k chunk) io.Reader {
	var list bytes.Buffer
	for _, f := range k.files {
		list.WriteString(strings.TrimPrefix(f.path[len(k.dir):], "/"))
		list.WriteByte(0)
	}
	return &list
}

// readCopied reads a line ">f… SIZE SENT NAME" for each file that has arrived, where
// names are below dir. Other lines are of directories, or notices for nobody.
func readCopied(stdout io.Reader, dir string, copied func(Amount)) error {
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		fields := strings.SplitN(lines.Text(), " ", 4)
		if len(fields) != 4 || !strings.HasPrefix(fields[0], ">f") || fields[3] == "" {
			continue
		}
		if n, err := strconv.ParseInt(fields[1], 10, 64); err == nil && n >= 0 {
			a := Amount{Bytes: n}
			if isMessagePath(dir + "/" + fields[3]) {
				a.Messages = 1
			}
			copied(a)
		}
	}
	if err := lines.Err(); err != nil {
		_, _ = io.Copy(io.Discard, stdout) // so that it can end
		return fmt.Errorf("read rsync's output: %w", err)
	}
	return nil
}

// complaints keeps the first lines that rsync writes to standard error: they name
// the cause, the last ones only say that there was one.
type complaints struct {
	kept []byte
}

const maxComplaints = 4 << 10

func (c *complaints) Write(p []byte) (int, error) {
	c.kept = append(c.kept, p[:min(len(p), maxComplaints-len(c.kept))]...)
	return len(p), nil
}

// String is up to three lines, without what a terminal would obey.
func (c *complaints) String() string {
	var lines []string
	for line := range strings.Lines(string(c.kept)) {
		line = strings.TrimSpace(strings.Map(func(r rune) rune {
			if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
				return ' '
			}
			return r
		}, strings.ToValidUTF8(line, "\uFFFD")))
		if line != "" && len(lines) < 3 {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "; ")
}
