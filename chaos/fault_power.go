package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"mailstack/e2e/lab"
)

// How ext4 is made to stop as if the power had failed: nothing more reaches the
// disk, the journal included (EXT4_IOC_SHUTDOWN, EXT4_GOING_FLAGS_NOLOGFLUSH in
// fs/ext4/ext4.h of Linux; the number is the same on all common architectures).
const (
	ext4Shutdown   = 0x8004587d
	withoutJournal = 2
)

// powerCut stops the disk of all volumes at a random moment, and then everything
// that ran on it. What is answered in between nobody would have heard; what is
// acknowledged in between would be a lie, and counts.
func powerCut(ctx context.Context, s *scene) (endFunc, error) {
	lab.Pause(ctx, time.Duration(s.rng.IntN(4000))*time.Millisecond)
	d := s.disks[everything]
	kept, gone := filepath.Join(d.dir, "kept"), filepath.Join(d.dir, "gone")
	content := bytes.Repeat([]byte("control "), 512)
	err := errors.Join(writeControl(kept, content, true), writeControl(gone, content, false))
	if err != nil {
		return none, fmt.Errorf("write control files: %w", err)
	}
	s.findings.mute(true)
	s.cutAt = time.Now()
	if err := d.cut(); err != nil {
		s.findings.mute(false)
		return none, err
	}
	names := s.containers(services...)
	_, err = s.Docker(ctx, append([]string{"kill"}, names...)...)
	return func(ctx context.Context) error {
		defer s.findings.mute(false)
		if err := errors.Join(d.unmount(ctx), d.mount(ctx)); err != nil {
			return err
		}
		if data, err := os.ReadFile(kept); err != nil || !bytes.Equal(data, content) {
			return fmt.Errorf("the power cut has taken what was on the disk (%v): it proves nothing", err)
		}
		if data, err := os.ReadFile(gone); err == nil && bytes.Equal(data, content) {
			return errors.New("the power cut has kept what was never written: it proves nothing")
		}
		_, err := s.Docker(ctx, append([]string{"start"}, names...)...)
		return err
	}, err
}

// writeControl writes a file anew, with or without an fsync.
func writeControl(path string, content []byte, sync bool) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if sync {
		err = errors.Join(err, file.Sync())
	}
	return errors.Join(err, file.Close())
}

// cut is the power cut.
func (d *disk) cut() error {
	dir, err := os.Open(d.dir)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := unix.IoctlSetPointerInt(int(dir.Fd()), ext4Shutdown, withoutJournal); err != nil {
		return fmt.Errorf("shut down %s: %w", d.dir, err)
	}
	return nil
}
