package migrate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
)

// CopyDir copies the regular files below a directory of the old server, and the
// directories they are in, into one that is there and holds nothing; they are of
// uid and its group and nobody else's. Links and special files are left out, as
// are names that match a pattern of exclude (rsync(1)). What changes meanwhile is
// an error: nothing may be in use there.
func CopyDir(ctx context.Context, from Remote, dir, into string, uid int, exclude ...string) error {
	if err := checkRsync(ctx, rsyncProgram, from); err != nil {
		return err
	}
	args := append([]string{}, from.RsyncShell(0)...)
	args = append(args, "-s", "--recursive", "--times", "--perms", "--chmod=D0700,F0600", "--whole-file", "--sparse",
		"--timeout="+strconv.Itoa(int(rsyncSilence.Seconds())))
	if os.Geteuid() == 0 {
		args = append(args, "--numeric-ids", "--owner", "--group", fmt.Sprintf("--chown=%d:%[1]d", uid))
	}
	for _, pattern := range exclude {
		args = append(args, "--exclude="+pattern)
	}
	args = append(args, from.RsyncPath(dir+"/"), into+"/")
	err := runRsync(ctx, rsyncProgram, args, nil, func(stdout io.Reader) error {
		_, err := io.Copy(io.Discard, stdout)
		return err
	})
	var failed *RsyncError
	if errors.As(err, &failed) && failed.Status == statusVanished {
		failed.Said = "something there is in use: " + failed.Said
	}
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("copy %s from %s: %w", dir, from.Target(), err)
	}
	return err
}
