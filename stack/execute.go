package stack

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"

	"mailstack/images"
)

// do carries out one action.
func (x *Executor) do(ctx context.Context, a Action, log func(string)) error {
	switch a := a.(type) {
	case WriteID:
		return x.writeID()
	case CompleteID:
		return x.completeID()
	case JoinService:
		return WriteFile(x.Desired.Layout.joinedFile(a.Service), nil, Owner{Mode: 0o600})
	case WriteSecret:
		return writeSecret(x.Desired.Layout, a.Name, x.Desired.Secrets[a.Name])
	case FetchBase:
		return x.fetchBase(ctx, log)
	case BuildImage:
		return x.buildImage(ctx, a.Image, log)
	case WriteFiles:
		return x.writeFiles(a.Service)
	case InitVolume:
		return x.initVolume(ctx, a, log)
	case CreateNetwork:
		return x.createNetwork(ctx, a.Spec)
	case RemoveNetwork:
		return x.Engine.RemoveNetwork(ctx, a.Name)
	case RunTask:
		return x.runTask(ctx, a.Task, log)
	case CreateContainer, ReplaceContainer, StartContainer, RestartContainer, ReloadContainer:
		return x.serve(ctx, a)
	case RemoveContainer:
		return x.remove(ctx, a.Name)
	case WaitReady:
		return waitReady(ctx, x.Engine, a.Name, x.ReadyTimeout, log)
	}
	return fmt.Errorf("action %T is not known", a)
}

// serve lets a container read its files: those in its place now are what it
// serves from then on.
func (x *Executor) serve(ctx context.Context, a Action) error {
	var name string
	var err error
	switch a := a.(type) {
	case CreateContainer:
		name, err = a.Spec.Name, x.createService(ctx, a.Spec)
	case ReplaceContainer:
		name = a.Spec.Name
		if err = x.remove(ctx, name); err == nil {
			err = x.createService(ctx, a.Spec)
		}
	case StartContainer:
		name, err = a.Name, x.Engine.StartContainer(ctx, a.Name)
	case RestartContainer:
		name, err = a.Name, x.Engine.RestartContainer(ctx, a.Name)
	case ReloadContainer:
		name, err = a.Name, Run(ctx, x.Engine, a.Name, ReloadCmd)
	}
	if err != nil {
		return err
	}
	err = os.Remove(x.Desired.Layout.reloadFile(strings.TrimPrefix(name, x.Desired.Name+"-")))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// createService makes a service's container, once the directory of its sockets has
// the owner and mode that the service says now: another version may have made it.
func (x *Executor) createService(ctx context.Context, spec ContainerSpec) error {
	s, _ := x.Desired.Graph.Service(spec.Labels[LabelService])
	if len(s.Provides) > 0 {
		if err := own(x.Desired.Layout.Content(SocketVolume(s.Name)), s.SocketDir); err != nil {
			return err
		}
	}
	return x.create(ctx, spec)
}

// runTask notes on disk first which services must reload after the task: an
// interruption between the two would leave the task done and the old
// certificate served until it expires.
func (x *Executor) runTask(ctx context.Context, t Task, log func(string)) error {
	if t.Reload {
		for _, service := range t.Before {
			if err := WriteFile(x.Desired.Layout.reloadFile(service), nil, Owner{Mode: 0o600}); err != nil {
				return err
			}
		}
	}
	return t.Do(ctx, log)
}

func (x *Executor) writeID() error {
	l := x.Desired.Layout
	return WriteFile(l.pendingIDFile(), []byte(x.Desired.ID+"\n"), Owner{Mode: 0o600})
}

func (x *Executor) completeID() error {
	l := x.Desired.Layout
	if err := os.Rename(l.pendingIDFile(), l.IDFile()); err != nil {
		return err
	}
	return syncDir(l.Dir)
}

func (x *Executor) remove(ctx context.Context, name string) error {
	if err := x.Engine.StopContainer(ctx, name); err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	if err := x.Engine.RemoveContainer(ctx, name); err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	return nil
}

// Run runs a command in a container and makes its failure an error with what
// it said.
func Run(ctx context.Context, e Engine, container string, command ...string) error {
	res, err := e.Exec(ctx, container, ExecSpec{Command: command})
	if err != nil {
		return err
	}
	if res.ExitCode != 0 {
		return fmt.Errorf("%s in %s: status %d: %s", command[0], container, res.ExitCode, said(res))
	}
	return nil
}

func said(res ExecResult) string {
	text := strings.TrimSpace(string(res.Stderr) + " " + string(res.Stdout))
	if text == "" {
		return "it said nothing"
	}
	return lastLines(text, 3)
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return printable(strings.Join(lines[max(0, len(lines)-n):], " | "))
}

// printable takes control characters out of what a container said: it may have
// been broken into, and this goes to an administrator's terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
}

// writeFiles writes what was rendered for a service and removes what is no
// longer wanted. Each file appears whole; a container may be running.
func (x *Executor) writeFiles(service string) error {
	l := x.Desired.Layout
	for _, dir := range []string{filepath.Join(l.Dir, "run"), filepath.Join(l.Dir, "run", service)} {
		if err := makeDir(dir, Owner{Mode: 0o700}); err != nil {
			return err
		}
	}
	s, _ := x.Desired.Graph.Service(service)
	rendered, filled := s.runKinds()
	for _, kind := range slices.Concat(rendered, filled) {
		if err := makeDir(l.RunDir(service, kind), Owner{Mode: 0o755}); err != nil {
			return err
		}
	}
	wanted := map[string]images.File{}
	for _, f := range x.Desired.Files[service] {
		wanted[f.Path] = f
		path := filepath.Join(l.Dir, "run", service, filepath.FromSlash(f.Path))
		if err := WriteFile(path, f.Data, Owner{UID: f.UID, GID: f.GID, Mode: f.Mode}); err != nil {
			return err
		}
	}
	for _, kind := range rendered {
		entries, err := os.ReadDir(l.RunDir(service, kind))
		if err != nil {
			return err
		}
		for _, e := range entries {
			if _, keep := wanted[kind+"/"+e.Name()]; !keep {
				if err := os.RemoveAll(filepath.Join(l.RunDir(service, kind), e.Name())); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// initVolume makes a volume: its content in a temporary directory, by a
// one-shot container where the service has one for it, then the names.
func (x *Executor) initVolume(ctx context.Context, a InitVolume, log func(string)) error {
	init := volumeInit{layout: x.Desired.Layout, name: a.Volume.Name, id: x.Desired.ID, owner: a.Volume.Owner}
	if a.MarkOnly {
		return init.mark()
	}
	spec := x.Desired.initContainer(a.Volume, init.tmp())
	if a.Volume.Init {
		// One that outlived an interrupted up still writes there.
		if err := removeOwn(ctx, x.Engine, spec); err != nil {
			return err
		}
	}
	if err := init.begin(); err != nil {
		return err
	}
	if a.Volume.Init {
		if err := x.runOnce(ctx, spec, log); err != nil {
			return err
		}
	}
	return init.finish(x.Now())
}

// removeOwn makes way for a container: it removes an earlier one of this stack,
// but never somebody else's container of that name.
func removeOwn(ctx context.Context, e Engine, spec ContainerSpec) error {
	c, err := e.Container(ctx, spec.Name)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if id := spec.Labels[LabelID]; id == "" || c.Labels[LabelID] != id || c.Labels[LabelStack] != spec.Labels[LabelStack] {
		return &ObstacleError{What: "container " + c.Name + " exists and was not made for this stack", Fix: "remove or rename it"}
	}
	return (&Executor{Engine: e}).remove(ctx, spec.Name)
}

// runOnce runs a one-shot container to its end and removes it.
func (x *Executor) runOnce(ctx context.Context, spec ContainerSpec, log func(string)) error {
	if err := x.create(ctx, spec); err != nil {
		return err
	}
	defer func() {
		cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		if err := x.Engine.RemoveContainer(cleanup, spec.Name); err != nil && !errors.Is(err, ErrNotFound) {
			log("remove " + spec.Name + ": " + err.Error())
		}
	}()
	code, err := x.Engine.WaitContainer(ctx, spec.Name)
	if err != nil {
		return err
	}
	if code != 0 {
		return fmt.Errorf("%s ended with status %d: %s", spec.Name, code, recentLog(ctx, x.Engine, spec.Name, 8))
	}
	return nil
}

// recentLog quotes the last lines of a container's log, for errors.
func recentLog(ctx context.Context, e Engine, name string, n int) string {
	var b strings.Builder
	if err := e.Logs(ctx, name, LogSpec{Tail: n}, &b, &b); err != nil {
		return "its log cannot be read: " + err.Error()
	}
	if b.Len() == 0 {
		return "its log is empty"
	}
	return "its log ends: " + lastLines(b.String(), n)
}

// NotReadyError is a service that did not answer in time.
type NotReadyError struct {
	Name  string
	After time.Duration
	Seen  string // what the last check said
	Log   string // the last lines of the log
}

func (e *NotReadyError) Error() string {
	return fmt.Sprintf("not ready after %s: %s; %s", e.After.Round(time.Second), e.Seen, e.Log)
}

// waitReady runs the container's own health check until it passes. The
// engine's checks come too seldom to wait for at a start.
func waitReady(ctx context.Context, e Engine, name string, timeout time.Duration, log func(string)) error {
	start := time.Now()
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	seen := "no check has run yet"
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		now, ok, fatal := checkReady(limited, e, name)
		if ok {
			return nil
		}
		if limited.Err() == nil && now != seen {
			seen = now
			log(seen)
		}
		if fatal || limited.Err() != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			after, cancel := context.WithTimeout(ctx, 5*time.Second)
			defer cancel()
			return &NotReadyError{Name: name, After: time.Since(start), Seen: seen, Log: recentLog(after, e, name, 8)}
		}
		select {
		case <-limited.Done():
		case <-tick.C:
		}
	}
}

// checkReady runs one check. fatal says that waiting longer is useless.
func checkReady(ctx context.Context, e Engine, name string) (seen string, ok, fatal bool) {
	c, err := e.Container(ctx, name)
	if err != nil {
		return err.Error(), false, errors.Is(err, ErrNotFound)
	}
	// The engine restarts it; after a few times it will not get better. A
	// start by hand sets the count back.
	hopeless := c.RestartCount >= 3
	if c.State != "running" {
		return whyStart(c), false, hopeless || !slices.Contains([]string{"restarting", "exited", "created"}, c.State)
	}
	res, err := e.Exec(ctx, name, ExecSpec{Command: []string{HealthCmd}})
	if err != nil {
		return err.Error(), false, hopeless
	}
	return said(res), res.ExitCode == 0, hopeless
}
