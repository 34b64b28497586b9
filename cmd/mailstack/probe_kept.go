package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"mailstack/probe"
	"mailstack/stack"
)

// keptReport is the result that maintenance kept. It needs no rights but those
// to read the configuration.
func (a *app) keptReport(f probeFlags) (probe.Report, error) {
	cfg, err := a.config()
	if err != nil {
		return probe.Report{}, err
	}
	m, err := lastMaintenance(cfg)
	if err != nil {
		return probe.Report{}, err
	}
	return keptIn(m, probe.Target{Stack: cfg.Name, Ports: cfg.Listen.Ports()}, f, time.Now())
}

// keptIn is the report in a result of maintenance. What is too old says nothing
// about now.
func keptIn(m *maintenance, t probe.Target, f probeFlags, now time.Time) (probe.Report, error) {
	const mend = "`mailstack maintain` runs the probe and keeps its result; `mailstack systemd --install` does that daily"
	if m == nil || len(m.Probe) == 0 {
		return probe.Stopped(t.Stack, "last", probe.KindNotRun, "no result was kept since the last boot", mend), nil
	}
	if age := now.Sub(m.When); age > maintenanceOverdue || age < -time.Hour {
		detail := fmt.Sprintf("the last result is from %s, too old to say anything", m.When.Local().Format("2006-01-02 15:04"))
		return probe.Stopped(t.Stack, "last", probe.KindNotRun, detail, mend), nil
	}
	var r probe.Report
	if err := json.Unmarshal(m.Probe, &r); err != nil {
		return r, fmt.Errorf("read maintenance result: %w", err)
	}
	r.Taken = m.When
	return r.Select(t.ByListener(f.only), t.ByListener(f.skip)), nil
}

// writeChanges prints what is another state than at the last run, and keeps
// the report for the next.
func (a *app) writeChanges(r probe.Report, f probeFlags) error {
	path, err := f.statePath(r.Stack)
	if err != nil {
		return err
	}
	before, err := readKept(path)
	if err != nil {
		return err
	}
	known, changes := r.Over(before, f.only, f.skip)
	if err := probe.WriteChanges(a.Stdout, changes, probe.TextOptions{Colour: colour(a.Stdout)}); err != nil {
		return err
	}
	data, err := known.MarshalJSON()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return stack.WriteFile(path, append(data, '\n'), stack.Owner{UID: os.Geteuid(), GID: os.Getegid(), Mode: 0o600})
}

// readKept reads a report; an empty one where there is none.
func readKept(path string) (r probe.Report, err error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &r)
	}
	if err != nil {
		return r, hinted(fmt.Errorf("read last result %s: %w", path, err), "remove it: the next run then shows every check")
	}
	return r, nil
}

// statePath is where --changes keeps the last result: what was asked for, or
// below the directory that systemd (systemd.exec(5), StateDirectory=) or the
// XDG base directory specification gives.
func (f probeFlags) statePath(name string) (string, error) {
	if f.state != "" {
		return f.state, nil
	}
	file := "probe-" + strings.NewReplacer("/", "_", ":", "_").Replace(name) + ".json"
	if dir := os.Getenv("STATE_DIRECTORY"); dir != "" {
		return filepath.Join(dir, file), nil
	}
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "mailstack", file), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", hinted(fmt.Errorf("find state directory: %w", err), "name a file with --state")
	}
	return filepath.Join(home, ".local", "state", "mailstack", file), nil
}
