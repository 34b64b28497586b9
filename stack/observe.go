package stack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"golang.org/x/sync/errgroup"

	"mailstack/images"
)

// Observed is the stack as it is: one snapshot, taken once per run, a plain
// value.
type Observed struct {
	Images     map[string]Image // by reference; absent: not there
	Base       bool             // a base image is there, or not needed
	Containers []Container      // all that carry the stack's label
	Foreign    []Container      // of the names we need, without our label
	Networks   []Network
	Taken      []Network // networks of the names we need, without our label
	Volumes    map[string]VolumeState
	Stale      map[string]string // service -> why its files must be written
	Gone       map[string]string // service that has answered -> a socket that it no longer has
	ReloadDue  map[string]bool   // by service: it has not read what a task changed
	Joined     map[string]bool   // by service, of those with an Option: its volumes have been made
	TasksDue   map[string]string // task -> cause
}

// Task is work of another package that has its place in the order of a start:
// issuing the certificate, migrating the database.
type Task struct {
	Name   string
	About  string   // what it does, for the plan
	After  string   // task that comes before it, where that is due; empty: none
	Needs  []string // services that must be ready before it
	Before []string // services that are started or reloaded only after it
	Reload bool     // the services in Before must reload after it
	// Due says why it must be done now; empty: it need not. It is asked only
	// when the services in Needs are running.
	Due func(ctx context.Context) (cause string, err error)
	Do  func(ctx context.Context, log func(line string)) error
}

// Observe takes the snapshot.
func Observe(ctx context.Context, e Engine, d *Desired) (*Observed, error) {
	o := &Observed{
		Images: map[string]Image{}, Volumes: map[string]VolumeState{},
		Stale: map[string]string{}, Gone: map[string]string{}, ReloadDue: map[string]bool{}, Joined: map[string]bool{}, TasksDue: map[string]string{},
	}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return o.observeImages(gctx, e, d) })
	g.Go(func() error { return o.observeContainers(gctx, e, d) })
	g.Go(func() error { return o.observeNetworks(gctx, e, d) })
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for _, v := range d.Volumes {
		o.Volumes[v.Name] = observeVolume(d.Layout, v.Name, d.ID)
	}
	for _, s := range d.Graph.Services {
		why, err := staleFiles(d.Layout, s, d.Files[s.Name])
		if err != nil {
			return nil, err
		}
		if why != "" {
			o.Stale[s.Name] = why
		}
		if gone := o.goneSocket(d, s); gone != "" {
			o.Gone[s.Name] = gone
		}
		if _, err := os.Lstat(d.Layout.reloadFile(s.Name)); err == nil {
			o.ReloadDue[s.Name] = true
		}
		if _, err := os.Lstat(d.Layout.joinedFile(s.Name)); err == nil {
			o.Joined[s.Name] = true
		}
	}
	return o, o.observeTasks(ctx, d)
}

func (o *Observed) observeImages(ctx context.Context, e Engine, d *Desired) error {
	for _, w := range d.Images {
		img, err := e.Image(ctx, w.Ref)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return fmt.Errorf("look for image %s: %w", w.Ref, err)
		}
		o.Images[w.Ref] = img
	}
	if len(o.Images) == len(d.Images) {
		o.Base = true // not needed
		return nil
	}
	_, err := findBase(ctx, e, d.Base)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	o.Base = err == nil
	return nil
}

func (o *Observed) observeContainers(ctx context.Context, e Engine, d *Desired) error {
	var err error
	if o.Containers, err = e.Containers(ctx, d.Name); err != nil {
		return fmt.Errorf("list containers: %w", err)
	}
	for _, w := range d.Containers {
		if _, ours := o.container(w.Spec.Name); ours {
			continue
		}
		c, err := e.Container(ctx, w.Spec.Name)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return fmt.Errorf("look for container %s: %w", w.Spec.Name, err)
		}
		if c.Labels[LabelStack] == d.Name { // made since the list, for a run that was killed
			o.Containers = append(o.Containers, c)
			continue
		}
		o.Foreign = append(o.Foreign, c)
	}
	return nil
}

func (o *Observed) observeNetworks(ctx context.Context, e Engine, d *Desired) error {
	var err error
	if o.Networks, err = e.Networks(ctx, d.Name); err != nil {
		return fmt.Errorf("list networks: %w", err)
	}
	for _, spec := range d.Networks {
		name := spec.Name
		if _, there := o.network(name); there {
			continue
		}
		n, err := e.Network(ctx, name)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return fmt.Errorf("look for network %s: %w", name, err)
		}
		if n.Labels[LabelStack] == d.Name { // made since the list, for a run that was killed
			o.Networks = append(o.Networks, n)
			continue
		}
		o.Taken = append(o.Taken, n)
	}
	return nil
}

func (o *Observed) observeTasks(ctx context.Context, d *Desired) error {
	for _, t := range d.Tasks {
		if !o.allRunning(d, t.Needs) {
			continue
		}
		cause, err := t.Due(ctx)
		if err != nil {
			return fmt.Errorf("check %s: %w", t.Name, err)
		}
		if cause != "" {
			o.TasksDue[t.Name] = cause
		}
	}
	return nil
}

func (o *Observed) allRunning(d *Desired, services []string) bool {
	for _, name := range services {
		c, ok := o.container(ContainerName(d.Name, name))
		if !ok || c.State != "running" {
			return false
		}
	}
	return true
}

// goneSocket names a socket that a service has made and that is not there any
// more. No server makes one again while it runs, and the engine's check notices
// late, or never if it asks at another socket.
func (o *Observed) goneSocket(d *Desired, s Service) string {
	c, ok := o.container(ContainerName(d.Name, s.Name))
	if !ok || c.State != "running" || c.HealthStatus != "healthy" {
		return ""
	}
	for _, socket := range s.Provides {
		info, err := os.Lstat(d.Layout.Socket(s.Name, socket.Name))
		if errors.Is(err, fs.ErrNotExist) || err == nil && info.Mode().Type() != fs.ModeSocket {
			return socket.Name
		}
	}
	return ""
}

func (o *Observed) container(name string) (Container, bool) {
	for _, c := range o.Containers {
		if c.Name == name {
			return c, true
		}
	}
	return Container{}, false
}

func (o *Observed) network(name string) (Network, bool) {
	for _, n := range o.Networks {
		if n.Name == name {
			return n, true
		}
	}
	return Network{}, false
}

// staleFiles says why the files rendered for a service must be written again;
// empty: they are as they should be. It quotes configuration, never secrets.
func staleFiles(l Layout, s Service, files []images.File) (string, error) {
	if _, err := os.Lstat(l.RunDir(s.Name, "config")); errors.Is(err, fs.ErrNotExist) {
		return "not written yet", nil
	}
	wanted := map[string]bool{}
	for _, f := range files {
		wanted[f.Path] = true
		why, err := staleFile(l, s, f)
		if why != "" || err != nil {
			return why, err
		}
	}
	rendered, filled := s.runKinds()
	for _, kind := range slices.Concat(rendered, filled) {
		entries, err := os.ReadDir(l.RunDir(s.Name, kind))
		if err != nil {
			return kind + "/ is missing", nil
		}
		if slices.Contains(filled, kind) {
			continue
		}
		for _, e := range entries {
			if !wanted[kind+"/"+e.Name()] {
				return kind + "/" + e.Name() + " is no longer used", nil
			}
		}
	}
	return "", nil
}

func staleFile(l Layout, s Service, f images.File) (string, error) {
	path := filepath.Join(l.Dir, "run", s.Name, filepath.FromSlash(f.Path))
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return f.Path + " is missing", nil
	}
	if err != nil {
		return "", fmt.Errorf("read rendered file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return f.Path + " is not a regular file", nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read rendered file: %w", err)
	}
	if !bytes.Equal(data, f.Data) {
		if filepath.Dir(f.Path) == "secret" {
			return f.Path + " changes", nil
		}
		return f.Path + ": " + firstDifference(data, f.Data), nil
	}
	if info.Mode().Perm() != f.Mode.Perm() || !ownedBy(info, f.UID, f.GID) {
		return f.Path + " has another mode or owner", nil
	}
	return "", nil
}

// ownedBy compares the owner of a file.
func ownedBy(info fs.FileInfo, uid, gid int) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == uid && int(st.Gid) == gid
}

// firstDifference quotes the first line that differs, for a cause. Comments
// are passed over: they change nothing.
func firstDifference(old, new []byte) string {
	a, b := settings(old), settings(new)
	for i := range max(len(a), len(b)) {
		was, is := line(a, i), line(b, i)
		if was != is {
			switch {
			case len(a) > len(b):
				return fmt.Sprintf("%q goes", was)
			case len(a) < len(b):
				return fmt.Sprintf("%q comes", is)
			}
			return fmt.Sprintf("%q becomes %q", was, is)
		}
	}
	return "comments change"
}

// settings are the lines that are not comments.
func settings(data []byte) [][]byte {
	return slices.DeleteFunc(bytes.Split(data, []byte("\n")), func(line []byte) bool {
		text := bytes.TrimSpace(line)
		return len(text) == 0 || text[0] == '#'
	})
}

func line(lines [][]byte, i int) string {
	if i >= len(lines) {
		return ""
	}
	text := string(bytes.TrimSpace(lines[i]))
	if len(text) > 60 {
		text = text[:57] + "..."
	}
	return text
}
