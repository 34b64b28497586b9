package migrate

import (
	"fmt"
	"os/exec"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Destination is where mail goes.
type Destination struct {
	// Volume is the directory of the mail volume, Store the one in it that the
	// server uses: <Volume>/data. What is copied goes to <Volume>/migrate first,
	// which no container sees.
	Volume, Store string
	UID, GID      int // of mail
	// Marked says why the volume is not one to be written to, nil if it is: it
	// has to carry the mark of the stack whose accounts are moved.
	Marked func() error
}

// Options says what to move, from where to where.
type Options struct {
	From     Remote
	To       Destination
	Accounts []Account
	// Workers is how many rsync run at once, each over a connection of its own;
	// 0: as many as there are connections.
	Workers int
	// KBytesPerSecond limits all of them together, in KiB/s; 0: no limit.
	KBytesPerSecond int
	// MaxDelete is how many messages may be gone in a mailbox, on the old server,
	// since they were copied; 0: a tenth of it and at least 100; negative: none.
	// More than that is an old server that is not as it was.
	MaxDelete int
	Verify    Verify
	Progress  Reporter // may be nil
	// Rsync is the program; "": rsync.
	Rsync string
	// Now is the time; nil: time.Now.
	Now func() time.Time

	retries []time.Duration // nil: retries
}

// Migration moves mail. Nothing of it is lost when it is interrupted: opened and
// run again, it goes on.
type Migration struct {
	Options
	volume, work, mirror, store *dir
	state                       *state
	boxes                       []*mailbox
	homes                       sync.Mutex
}

// Names in <Volume>/migrate.
const (
	workName = "migrate"
)

// BusyError is another migration that runs into the same volume.
type BusyError struct{ Path string }

func (e *BusyError) Error() string {
	return fmt.Sprintf("open %s: another migration is running", e.Path)
}

// Open prepares a migration. One at a time can be open.
func Open(o Options) (_ *Migration, err error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rsync == "" {
		o.Rsync = rsyncProgram
	}
	if o.retries == nil {
		o.retries = retries
	}
	if o.Workers <= 0 || o.Workers > o.From.Slots() {
		o.Workers = o.From.Slots()
	}
	if _, err := exec.LookPath(o.Rsync); err != nil {
		return nil, &NoRsyncError{err}
	}
	if err := o.To.Marked(); err != nil {
		return nil, fmt.Errorf("open mail volume %s: %w", o.To.Volume, err)
	}
	m := &Migration{Options: o}
	defer func() {
		if err != nil {
			m.Close()
		}
	}()
	if m.volume, err = openTrusted(o.To.Volume); err != nil {
		return nil, err
	}
	if m.store, err = openTrusted(o.To.Store); err != nil {
		return nil, err
	}
	for _, a := range o.Accounts {
		m.boxes = append(m.boxes, newMailbox(a))
	}
	if err := m.openWork(); err != nil {
		return nil, err
	}
	return m, nil
}

// NoRsyncError is this machine without rsync.
type NoRsyncError struct{ Err error }

func (e *NoRsyncError) Error() string { return fmt.Sprintf("find rsync on this machine: %v", e.Err) }

// Hint says what to do.
func (e *NoRsyncError) Hint() string { return "install rsync here (apt-get install rsync)" }

// openWork opens the directories that only root sees.
func (m *Migration) openWork() (err error) {
	if err := m.openState(); err != nil {
		return err
	}
	m.hold()
	if err := m.state.write(m.work, m.Now()); err != nil {
		return err
	}
	if m.mirror, err = m.work.ensure(mirrorName(m.From.Target()), m.rooted()); err != nil {
		return err
	}
	return nil
}

// openState opens what is remembered of earlier runs, and keeps others from it.
func (m *Migration) openState() (err error) {
	if m.work, err = m.volume.ensure(workName, m.rooted()); err != nil {
		return err
	}
	// It lasts as long as the directory is open.
	if err := unix.Flock(m.work.fd(), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return &BusyError{m.work.f.Name()}
	}
	m.state, err = readState(m.work, m.Now())
	return err
}

// rooted owns what only root is to see.
func (m *Migration) rooted() owner { return owner{unix.Geteuid(), unix.Getegid()} }

func (m *Migration) owner() owner { return owner{m.To.UID, m.To.GID} }

func (m *Migration) now() time.Time { return m.Now() }

// Close lets others migrate. To close again does nothing.
func (m *Migration) Close() {
	if m.work != nil {
		// Closing is not enough while a child is being made, which has a copy.
		_ = unix.Flock(m.work.fd(), unix.LOCK_UN)
	}
	for _, d := range []*dir{m.mirror, m.work, m.store, m.volume} {
		if d != nil {
			d.close()
		}
	}
	m.mirror, m.work, m.store, m.volume = nil, nil, nil, nil
}
