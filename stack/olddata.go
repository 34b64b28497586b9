package stack

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// OldData is a copy of the data directory of another host's database server,
// and the container that reads it: without a network, without passwords, with
// nothing of the stack but the image. Both are thrown away. The directory is
// made first and removed last, so that it tells of what a killed run left.
type OldData struct {
	engine Engine
	layout Layout
	name   string // of the stack
	id     string
	// copy is the name of the directory: the rsync of a killed run, which may be
	// alive, never writes into another run's.
	copy string
}

// The server that reads a copy: its caches are small, but recovery after a
// crash needs room for the pages that the log speaks of.
const (
	oldDataMemory = 1024 * mebi
	// oldDataTimeout bounds recovery. It took seconds for a killed server of mail
	// accounts; one with large tables of others beside them takes minutes.
	oldDataTimeout = 15 * time.Minute
	// oldDataCleanup bounds the removal of the container.
	oldDataCleanup = time.Minute
)

// NewOldData makes the directory for the copy, after it has removed what an
// earlier run left. The caller holds the lock of migrations.
func NewOldData(ctx context.Context, e Engine, l Layout, name, id string) (*OldData, error) {
	o := &OldData{engine: e, layout: l, name: name, id: id, copy: rand.Text()}
	if err := o.Close(ctx); err != nil {
		return nil, err
	}
	err := makeDir(l.oldDataDir(), Owner{Mode: 0o700})
	if err == nil {
		err = makeDir(o.Dir(), Owner{UID: UIDMySQL, GID: UIDMySQL, Mode: 0o700})
	}
	if err != nil {
		return nil, fmt.Errorf("make a directory for the old database: %w", err)
	}
	return o, nil
}

// RemoveOldData removes what an earlier run left, if there is anything; connect
// is called only then. The caller holds the lock of migrations.
func RemoveOldData(ctx context.Context, connect func(context.Context) (Engine, error), l Layout, name, id string) error {
	if _, err := os.Lstat(l.oldDataDir()); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	e, err := connect(ctx)
	if err != nil {
		return err
	}
	return (&OldData{engine: e, layout: l, name: name, id: id}).Close(ctx)
}

// Dir is where the copy belongs, in files of UIDMySQL.
func (o *OldData) Dir() string { return filepath.Join(o.layout.oldDataDir(), o.copy) }

// container is the name of the container.
func (o *OldData) container() string { return ContainerName(o.name, "mysql") + "-old" }

// oldSocket is where the server listens, in its container. It is where the
// image's health check looks.
const oldSocket = SocketRoot + "/mysql/mysqld.sock"

// spec is the container. The old server's own settings are not known: what is
// left out here is the default of MariaDB, as it mostly is there.
func (o *OldData) spec(image string) ContainerSpec {
	return ContainerSpec{
		Name: o.container(), Image: image, Hostname: "mysql", User: fmt.Sprintf("%d:%[1]d", UIDMySQL),
		Labels:     map[string]string{LabelStack: o.name, LabelID: o.id},
		Entrypoint: []string{"/usr/sbin/mariadbd"},
		Command: []string{
			"--no-defaults", "--datadir=/var/lib/mysql", "--socket=" + oldSocket, "--tmpdir=/tmp",
			"--skip-networking", "--skip-grant-tables", "--skip-log-bin", "--skip-slave-start",
			"--local-infile=OFF", "--symbolic-links=OFF", "--secure-file-priv=/usr/share/mailstack/empty",
			"--performance-schema=OFF", "--innodb-use-native-aio=OFF", "--innodb-buffer-pool-size=256M",
		},
		Network: "none",
		Mounts:  []Mount{{Source: o.Dir(), Target: "/var/lib/mysql"}},
		Tmpfs: []Tmpfs{
			{Target: "/tmp", Options: "size=64m,mode=1777"},
			{Target: "/run", Options: "size=1m,mode=755"},
			// It gets the mode of the image's directory, whatever is said here.
			{Target: filepath.Dir(oldSocket), Options: fmt.Sprintf("size=1m,uid=%d,gid=%[1]d", UIDMySQL)},
		},
		PidsLimit: 200, MemoryBytes: oldDataMemory, StopGrace: time.Second, LogBytes: mebi, LogFiles: 1,
	}
}

// EndedError is a server that ended instead of answering.
type EndedError struct {
	Status int
	Said   string // the first error in its log, in one line
}

func (e *EndedError) Error() string {
	return fmt.Sprintf("the server ended with status %d: %s", e.Status, e.Said)
}

// Start starts the server on the copy, and waits until it answers. One that
// cannot read the copy is an *EndedError.
func (o *OldData) Start(ctx context.Context, image string) error {
	if err := (&Executor{Engine: o.engine}).create(ctx, o.spec(image)); err != nil {
		return err
	}
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan int, 1)
	go func() {
		if status, err := o.engine.WaitContainer(waiting, o.container()); err == nil {
			ended <- status
			cancel()
		}
	}()
	err := waitReady(waiting, o.engine, o.container(), oldDataTimeout, func(string) {})
	select {
	case status := <-ended:
		return &EndedError{Status: status, Said: o.firstError(ctx)}
	default:
		return err
	}
}

// firstError is what the server says first of what is wrong: what it says last
// is only that it gives up.
func (o *OldData) firstError(ctx context.Context) string {
	var log strings.Builder
	if err := o.engine.Logs(ctx, o.container(), LogSpec{Tail: 200}, &log, &log); err != nil {
		return "its log cannot be read: " + err.Error()
	}
	for line := range strings.Lines(log.String()) {
		if _, text, found := strings.Cut(line, "[ERROR] "); found {
			return printable(strings.TrimSpace(text))
		}
	}
	return "its log ends: " + lastLines(log.String(), 3)
}

// Query runs the client of the server with arguments and statements. Reading
// what it prints gives io.EOF only when it has succeeded.
func (o *OldData) Query(ctx context.Context, args []string, statements io.Reader) io.ReadCloser {
	out, in := io.Pipe()
	command := append([]string{"mariadb", "--no-defaults", "--skip-ssl", "--socket=" + oldSocket}, args...)
	go func() {
		res, err := o.engine.Exec(ctx, o.container(), ExecSpec{Command: command, Stdin: statements, Stdout: in})
		if err == nil && res.ExitCode != 0 {
			err = fmt.Errorf("status %d: %s", res.ExitCode, said(res))
		}
		in.CloseWithError(err) // nil: io.EOF
	}()
	return out
}

// Close removes the container and the copy, also where ctx has ended.
func (o *OldData) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), oldDataCleanup)
	defer cancel()
	if err := removeOwn(ctx, o.engine, o.spec("")); err != nil {
		return fmt.Errorf("remove the container of the old database: %w", err)
	}
	// The rsync of a killed run may make a file or two yet.
	err := settle(ctx, func() (bool, error) {
		err := os.RemoveAll(o.layout.oldDataDir())
		return !errors.Is(err, unix.ENOTEMPTY), err
	})
	if err != nil {
		return fmt.Errorf("remove the copy of the old database: %w", err)
	}
	return nil
}
