package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"mailstack/certs"
	"mailstack/config"
	"mailstack/stack"
)

// How `maintain --watch` keeps time. Looking at a handful of files once a second
// costs nothing and sees what is exchanged behind a link, as certbot does it,
// which the kernel's notices about directories do not.
const (
	watchLook  = time.Second
	watchRetry = time.Minute // after a run that failed for another reason than its files or an authority
	watchDue   = time.Hour   // certificates become due without a file's change
)

// watchCertificates keeps the certificate as `maintain` does, at once when a
// file changes, until ctx ends. A changed configuration is read again, and takes
// effect with the next run: it is for `up` to bring it about.
func (a *app) watchCertificates(ctx context.Context) error {
	cfg, err := a.config()
	if err != nil {
		return err
	}
	settings, files := watch(cfg.Path), a.watchFiles(cfg)
	tick := time.NewTicker(watchLook)
	defer tick.Stop()
	next := time.Now()
	for {
		if settings.changed() {
			files = a.rereadWatched(files)
		}
		if files.changed() || !time.Now().Before(next) {
			wait := watchDue
			if again := a.watchRun(ctx); again {
				wait = watchRetry
			}
			next = time.Now().Add(wait)
		}
		select {
		case <-ctx.Done():
			return nil // asked to end, which is how watching ends
		case <-tick.C:
		}
	}
}

// watchFiles watches what somebody else puts certificates into.
func (a *app) watchFiles(cfg *config.Config) *watched {
	files := watchedFiles(cfg)
	if len(files) > 0 {
		fmt.Fprintf(a.Stdout, "watching %s\n", strings.Join(files, ", "))
	}
	return watch(files...)
}

// rereadWatched takes a changed configuration. One that is broken, or half
// written, leaves the one before in force.
func (a *app) rereadWatched(files *watched) *watched {
	before := a.cfg
	a.cfg = nil
	cfg, err := a.config()
	if err != nil {
		a.cfg = before
		fmt.Fprintf(a.Stdout, "%-12s ✗ %s; what it said before holds\n", "settings", err)
		return files
	}
	fmt.Fprintf(a.Stdout, "%-12s read again\n", "settings")
	return a.watchFiles(cfg)
}

// watched are files whose changes are waited for.
type watched struct {
	files         []string
	taken, before string // how they looked when a change was taken, and at the last look
}

func watch(files ...string) *watched {
	now := lookOf(files)
	return &watched{files, now, now}
}

// changed says whether the files are others than when it said so last, and no
// longer being written.
func (w *watched) changed() bool {
	now := lookOf(w.files)
	settled := now == w.before
	w.before = now
	if !settled || now == w.taken {
		return false
	}
	w.taken = now
	return true
}

// watchRun does one run and tells of it, unless there was nothing to do. again
// says that it should be tried soon.
func (a *app) watchRun(ctx context.Context) (again bool) {
	said, err := a.watchStep(ctx)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		fmt.Fprintf(a.Stdout, "%-12s ✗ %s\n", certificateTaskName, err)
		var refused certs.Problems
		return a.renewal == nil && !errors.As(err, &refused) // a changed file is seen, an authority is not pressed
	case said != nothingToDo:
		fmt.Fprintf(a.Stdout, "%-12s %s\n", certificateTaskName, said)
	}
	return false
}

func (a *app) watchStep(ctx context.Context) (string, error) {
	a.renewal = nil
	cfg, err := a.config()
	if err != nil {
		return "", err
	}
	if err := beenUp(cfg, "keep certificate"); err != nil {
		return "", err
	}
	t, err := a.open(ctx)
	if err != nil {
		return "", err
	}
	unlock, err := stack.Lock(t.set.Layout, "maintain --watch", time.Now())
	if err != nil {
		return "", err
	}
	defer unlock()
	return a.maintainCertificate(ctx, t)
}

// watchedFiles are what somebody else puts certificates into.
func watchedFiles(cfg *config.Config) []string {
	var files []string
	if cfg.TLS.Mode == "files" {
		files = certs.Paths(cfg.TLS.CertFile, cfg.TLS.KeyFile)
	}
	for _, path := range cfg.TLS.Extra {
		files = append(files, certs.Paths(path, "")...)
	}
	return files
}

// lookOf is text that changes whenever one of the files does: which file it is,
// its size, times, owner and mode. Links are followed.
func lookOf(files []string) string {
	var b strings.Builder
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			fmt.Fprintln(&b, err)
			continue
		}
		fmt.Fprintln(&b, file, info.Size(), info.ModTime().UnixNano(), info.Mode())
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			fmt.Fprintln(&b, st.Dev, st.Ino, st.Uid, st.Ctim.Nano())
		}
	}
	return b.String()
}
