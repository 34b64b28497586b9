package migrate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// large fills a mailbox with so many messages of 256 KiB.
func (b box) large(n int) {
	b.t.Helper()
	for i := range n {
		b.write(filepath.Join(b.dir, fmt.Sprintf("cur/%d.M1P1.old:2,", i)), strings.Repeat(itoa(i%10), 256<<10))
	}
}

// onCopied calls what once, when the first message has been copied: rsync tells of
// one before it gives it its date, without which it is copied again, so when it
// tells of the second.
type onCopied struct {
	what func()
	done bool
}

func (o *onCopied) Report(e Event) {
	if e.Phase == Copying && e.Done.Messages > 1 && !o.done {
		o.done = true
		o.what()
	}
}

// TestInterrupted: killed in the middle, a pass goes on where it was, and what was
// half there is whole in the end.
func TestInterrupted(t *testing.T) {
	for _, test := range []struct {
		name      string
		interrupt func(w *world, cancel context.CancelFunc)
	}{
		{"rsync killed", func(w *world, _ context.CancelFunc) { w.killRsync() }},
		{"cancelled", func(_ *world, cancel context.CancelFunc) { cancel() }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			const messages = 60
			w := newWorld(t)
			b := w.box("alice@example.org", Store{})
			b.large(messages)
			w.recordRsync()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			w.opts.KBytesPerSecond = 4 << 10
			w.opts.Progress = &onCopied{what: func() { test.interrupt(w, cancel) }}
			m := w.open()
			r, err := m.Pass(ctx, false)
			if err == nil {
				t.Fatal("it went through")
			}
			if r.OK() || r.Error == "" || r.Mailboxes[0].Problem == "" {
				t.Errorf("report of what was interrupted: %+v", r)
			}
			m.Close()
			if len(files(t, w.volume+"/data")) > 0 {
				t.Error("half a mailbox was placed")
			}
			w.opts.KBytesPerSecond, w.opts.Progress = 0, nil
			r = w.mustPass(true)
			b.expectSame("alice@example.org")
			if n := r.Copied.Messages; n == 0 || n >= messages {
				t.Errorf("the second pass copied %d of %d messages", n, messages)
			}
		})
	}
}

// recordRsync makes rsync write down its process ids.
func (w *world) recordRsync() {
	w.t.Helper()
	script := filepath.Join(w.volume, "../rsync")
	w.write(script, "#!/bin/sh\n[ \"$1\" = --version ] || echo $$ >> "+script+".pids\nexec rsync \"$@\"\n")
	if err := os.Chmod(script, 0o700); err != nil {
		w.t.Fatal(err)
	}
	w.opts.Rsync = script
}

func (w *world) killRsync() {
	pids, err := os.ReadFile(w.opts.Rsync + ".pids")
	if err != nil {
		w.t.Error(err)
	}
	for line := range strings.Lines(string(pids)) {
		pid, err := strconv.Atoi(strings.TrimSpace(line))
		if err == nil {
			err = syscall.Kill(pid, syscall.SIGKILL)
		}
		if err != nil {
			w.t.Error(err)
		}
	}
}

// TestConnectionBreaks: a connection that breaks is made again, and one that
// breaks each time ends the pass with what went wrong.
func TestConnectionBreaks(t *testing.T) {
	for _, test := range []struct {
		times int
		ok    bool
	}{{1, true}, {100, false}} {
		w := newWorld(t)
		w.host.slots = 1
		b := w.box("alice@example.org", Store{})
		b.fill()
		count := filepath.Join(w.volume, "../count")
		w.write(w.host.shell, fmt.Sprintf("#!/bin/sh\nshift\necho x >> %s\n[ $(wc -l < %[1]s) -gt %d ] || { echo 'client_loop: send disconnect: Broken pipe' >&2; exit 255; }\nexec \"$@\"\n", count, test.times))
		w.opts.retries = []time.Duration{0, 0}
		m := w.open()
		_, err := m.Pass(t.Context(), true)
		m.Close()
		if test.ok {
			if err != nil {
				t.Errorf("%d times: %v", test.times, err)
			}
			b.expectSame("alice@example.org")
			continue
		}
		var failure *RsyncError
		if !errors.As(err, &failure) || !strings.Contains(err.Error(), "Broken pipe") || !strings.Contains(failure.Hint(), "run the same command again") {
			t.Errorf("%d times: %v", test.times, err)
		}
	}
}

// TestUnreadable: a file that cannot be read there keeps nothing else from being
// copied, and is named.
func TestUnreadable(t *testing.T) {
	w := newWorld(t)
	b := w.box("alice@example.org", Store{})
	b.fill()
	// rsync calls it a partial transfer.
	w.write(filepath.Join(w.volume, "../rsync"), "#!/bin/sh\n[ \"$1\" = --version ] && exec rsync --version\nrsync \"$@\"\nrm -f "+
		w.volume+"/migrate/from-*"+b.dir+"/cur/3.*\necho 'rsync: send_files failed to open \"x\": Permission denied (13)' >&2\nexit 23\n")
	w.opts.Rsync = filepath.Join(w.volume, "../rsync")
	if err := os.Chmod(w.opts.Rsync, 0o700); err != nil {
		t.Fatal(err)
	}
	r := w.pass(true)
	if got := kinds(r.Mailboxes[0].Differences); len(got) != 1 || got[0] != "INBOX/missing" {
		t.Errorf("differences %v", r.Mailboxes[0].Differences)
	}
	if len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "Permission denied") {
		t.Errorf("warnings %q", r.Warnings)
	}
}

// TestFullDisk: a disk that is too small is told before anything is copied; one
// that fills up ends the pass, which goes on when there is room again.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("this test mounts a small file system, which only root can: run it as root")
	}
	w := newWorld(t)
	b := w.box("alice@example.org", Store{})
	b.large(24) // 6 MiB
	mount := func(size string) {
		t.Helper()
		if err := unix.Mount("tmpfs", w.volume, "tmpfs", 0, "size="+size); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Unmount(w.volume, unix.MNT_DETACH) })
		w.mkdir(filepath.Join(w.volume, "data"))
	}
	mount("4m")
	m := w.open()
	var small *SpaceError
	if _, err := m.Pass(t.Context(), false); !errors.As(err, &small) || small.Need < 6<<20 {
		t.Errorf("4 MiB for 6: %v", err)
	}
	m.Close()

	mount("16m")
	filler := filepath.Join(w.volume, "filler")
	w.opts.KBytesPerSecond = 4 << 10
	w.opts.Progress = &onCopied{what: func() { w.write(filler, strings.Repeat("x", 12<<20)) }}
	m = w.open()
	_, err := m.Pass(t.Context(), false)
	m.Close()
	var failure *RsyncError
	if !errors.As(err, &failure) || !strings.Contains(failure.Hint(), "make room") {
		t.Errorf("a disk that fills up: %v", err)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	w.opts.KBytesPerSecond, w.opts.Progress = 0, nil
	w.mustPass(true)
	b.expectSame("alice@example.org")
}

// TestLimit: all rsync together are no faster than they may be.
func TestLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, address := range []string{"alice@example.org", "bob@example.org"} {
		w.box(address, Store{}).large(30)
	}
	const limit = 4 << 20
	w.opts.KBytesPerSecond, w.opts.Workers = limit>>10, 2
	r := w.mustPass(false)
	// rsync lets a tenth of a second's worth pass before it begins to wait.
	least := float64(r.Copied.Bytes) / limit * 0.9
	if took := (passRecord{Phases: r.Phases}).seconds(Copying); r.Copied.Messages != 60 || took < least {
		t.Errorf("%d messages of %d octets took %.1f s, want at least %.1f s", r.Copied.Messages, r.Copied.Bytes, took, least)
	}
}
