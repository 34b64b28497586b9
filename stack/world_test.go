package stack

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// testTime is when everything in the tests happens.
var testTime = time.Date(2025, 11, 22, 17, 0, 0, 0, time.UTC)

// world is a host with a fake engine and a real data directory.
type world struct {
	t      *testing.T
	engine *fakeEngine
	graph  *Graph
	set    Settings

	mu          sync.Mutex
	certificate string            // the current one
	served      map[string]string // by container: what it has read
	schema      bool              // the database was migrated
}

// needRoot fails a test that gives files to the services' own users.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test gives files to the users of the services, which only root can: run it as root")
	}
}

// memoryDir is a directory in memory where there is one: the tests write and
// sync thousands of files.
func memoryDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "stack-test-*")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func catalogGraph(t *testing.T) *Graph {
	t.Helper()
	return graphOf(t, Without(Catalog(), FilterOption))
}

func graphOf(t *testing.T, services []Service) *Graph {
	t.Helper()
	g, err := NewGraph(services)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func testSettings(dir string) Settings {
	return Settings{
		Name: "demo", Hostname: "mail.example.org", Layout: Layout{Dir: dir},
		Listen: []netip.Addr{netip.MustParseAddr("127.0.0.1")},
		Ports: map[string]uint16{
			"smtp": 25, "submission": 587, "submissions": 465, "imap": 143, "imaps": 993,
			"pop3": 110, "pop3s": 995, "managesieve": 4190,
		},
		MessageBytes: 50 << 20, IP: "ipv4-first", Base: "debian:trixie-slim",
	}
}

func newWorld(t *testing.T) *world {
	t.Helper()
	needRoot(t)
	w := &world{
		t: t, engine: newFakeEngine(), graph: catalogGraph(t), certificate: "certificate 1",
		set: testSettings(filepath.Join(memoryDir(t), "demo")), served: map[string]string{},
	}
	w.engine.init = func(spec ContainerSpec, dir string) int {
		if err := os.WriteFile(filepath.Join(dir, "made-by-init"), []byte(spec.Labels[LabelService]), 0o600); err != nil {
			t.Error(err)
			return 1
		}
		return 0
	}
	w.engine.started = func(c Container) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.served[c.Name] = w.installed(c.Labels[LabelService])
		w.listen(c.Labels[LabelService])
	}
	if err := claimDir(w.set.Layout); err != nil {
		t.Fatal(err)
	}
	return w
}

// listen makes the sockets of a service that starts, in place of what is there.
func (w *world) listen(service string) {
	for _, s := range w.graph.Services {
		if s.Name != service {
			continue
		}
		for _, socket := range s.Provides {
			path := w.set.Layout.Socket(service, socket.Name)
			err := os.Remove(path)
			if err == nil || errors.Is(err, fs.ErrNotExist) {
				err = syscall.Mknod(path, syscall.S_IFSOCK|0o600, 0)
			}
			if err != nil {
				w.t.Error(err)
			}
		}
	}
}

func (w *world) installed(service string) string {
	data, err := os.ReadFile(filepath.Join(w.set.Layout.RunDir(service, "tls"), "server.pem"))
	if err != nil {
		return ""
	}
	return string(data)
}

// tasks are the certificate and the database, as cmd wires them.
func (w *world) tasks() []Task {
	tls := []string{"dovecot", "postfix"}
	return []Task{{
		Name: "certificate", About: "the certificate", Before: tls, Reload: true,
		Due: func(context.Context) (string, error) {
			for _, s := range tls {
				if w.installed(s) != w.certificate {
					return s + " does not have the current one", nil
				}
			}
			return "", nil
		},
		Do: func(context.Context, func(string)) error {
			for _, s := range tls {
				path := filepath.Join(w.set.Layout.RunDir(s, "tls"), "server.pem")
				if err := WriteFile(path, []byte(w.certificate), Owner{Mode: 0o600}); err != nil {
					return err
				}
			}
			return nil
		},
	}, {
		Name: "database", About: "the schema", Needs: []string{"mysql"}, Before: tls,
		Due: func(context.Context) (string, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			if !w.schema {
				return "schema version 0, this program knows 1", nil
			}
			return "", nil
		},
		Do: func(ctx context.Context, _ func(string)) error {
			if c, err := w.engine.Container(ctx, "demo-mysql"); err != nil || c.HealthStatus != "healthy" {
				return fmt.Errorf("the database does not answer: %s %v", c.HealthStatus, err)
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			w.schema = true
			return nil
		},
	}}
}

func (w *world) identity() (Identity, error) {
	var names []string
	for _, s := range w.graph.Services {
		names = append(names, s.Secrets...)
	}
	return ReadIdentity(w.set.Layout, append(names, "probe"), testTime)
}

// plan does what the plan command does.
func (w *world) plan(opts Options) (*Desired, *Plan, error) {
	id, err := w.identity()
	if err != nil {
		return nil, nil, err
	}
	d, err := NewDesired(w.graph, w.set, id, w.tasks())
	if err != nil {
		return nil, nil, err
	}
	o, err := Observe(w.t.Context(), w.engine, d)
	if err != nil {
		return nil, nil, err
	}
	p, err := NewPlan(d, o, opts)
	return d, p, err
}

// up does what the up command does, from what is on disk and in the engine
// alone. step, where not nil, may interrupt it.
func (w *world) up(opts Options, step func(int, Operation) error) (*Plan, error) {
	d, p, err := w.plan(opts)
	if err != nil {
		return nil, err
	}
	x := &Executor{
		Engine: w.engine, Desired: d, Reporter: silent{}, ReadyTimeout: time.Minute,
		Now: func() time.Time { return testTime }, Step: step,
	}
	return p, x.Apply(w.t.Context(), p)
}

func (w *world) mustUp() *Plan {
	w.t.Helper()
	p, err := w.up(Options{}, nil)
	if err != nil {
		w.t.Fatalf("up: %v", err)
	}
	return p
}

// state is everything that a finished up leaves, in a form that is the same
// for every stack: names, modes and owners of all files, containers, networks.
func (w *world) state() string {
	w.t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(w.set.Layout.Dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		owner := info.Sys().(*syscall.Stat_t)
		rel, err := filepath.Rel(w.set.Layout.Dir, path)
		fmt.Fprintf(&b, "%v %d:%d %s\n", info.Mode(), owner.Uid, owner.Gid, rel)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(w.engine.containers)) {
		c := w.engine.containers[name]
		fmt.Fprintf(&b, "%s %s serves %q\n", name, c.State, w.served[name])
		var parts map[string]string
		if err := json.Unmarshal([]byte(c.Labels[LabelParts]), &parts); err != nil {
			w.t.Error(err)
		}
		parts["mounts"] = strings.ReplaceAll(fmt.Sprint(c.spec.Mounts), w.set.Layout.Dir, "") // every world has a directory of its own
		fmt.Fprintf(&b, "  %v\n", parts)
	}
	for _, name := range slices.Sorted(maps.Keys(w.engine.networks)) {
		fmt.Fprintf(&b, "network %s\n", name)
	}
	for _, ref := range slices.Sorted(maps.Keys(w.engine.images)) {
		fmt.Fprintf(&b, "image %s %s\n", ref, w.engine.images[ref].ID)
	}
	fmt.Fprintf(&b, "schema %v\n", w.schema)
	return b.String()
}

// checkState compares two states line by line.
func checkState(t *testing.T, got, want string) {
	t.Helper()
	if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
}

// checkFinished checks that an up has nothing left to do and that all files
// and volumes are whole.
func (w *world) checkFinished() {
	w.t.Helper()
	d, p, err := w.plan(Options{})
	if err != nil {
		w.t.Fatalf("plan after up: %v", err)
	}
	if !p.Empty() {
		w.t.Errorf("plan after up is not empty:\n%s", p)
	}
	if !d.Initialised || d.NewID || len(d.New) > 0 {
		w.t.Errorf("after up: initialised %v, new id %v, new secrets %v", d.Initialised, d.NewID, d.New)
	}
	for _, v := range d.Volumes {
		if !observeVolume(d.Layout, v.Name, d.ID).Complete(d.ID) {
			w.t.Errorf("volume %s is not complete", v.Name)
		}
		made, err := os.ReadFile(filepath.Join(d.Layout.Content(v.Name), "made-by-init"))
		if v.Init && (err != nil || string(made) != v.Service) {
			w.t.Errorf("volume %s was not filled by its init: %q %v", v.Name, made, err)
		}
	}
	for service, files := range d.Files {
		for _, f := range files {
			data, err := os.ReadFile(filepath.Join(d.Layout.Dir, "run", service, f.Path))
			if err != nil || !bytes.Equal(data, f.Data) {
				w.t.Errorf("%s of %s is not what was rendered: %v", f.Path, service, err)
			}
		}
	}
}

// silent reports nothing.
type silent struct{}

func (silent) Report(Event) {}
