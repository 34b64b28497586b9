package stack

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares with a file.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (go test -update writes it anew). Got:\n%s\nwant:\n%s", path, got, want)
	}
}

const (
	testID  = "abcdefghijklmnopqrstuvwxyz"
	otherID = "zyxwvutsrqponmlkjihgfedcba"
)

// pair is what a plan is made from.
type pair struct {
	d    *Desired
	o    *Observed
	opts Options
}

// settledPair is a stack that is as it should be.
func settledPair(t *testing.T, change func(*Settings, *Identity)) *pair {
	t.Helper()
	set := testSettings("/var/lib/mailstack")
	id := Identity{ID: testID, Initialised: true, Secrets: map[string]Secret{}}
	for _, name := range []string{"admin", "dovecot", "postfix", "probe", "srs", "srs-previous"} {
		id.Secrets[name] = newSecret(1763830800, strings.Repeat("A", secretLength))
	}
	p := &pair{d: desired(t, set, id)}
	p.o = settled(p.d)
	if change != nil {
		change(&set, &id)
		p.d = desired(t, set, id)
	}
	return p
}

func desired(t *testing.T, set Settings, id Identity) *Desired {
	t.Helper()
	never := func(context.Context) (string, error) { return "", errors.New("asked by the planner") }
	d, err := NewDesired(catalogGraph(t), set, id, []Task{
		{Name: "certificate", Before: []string{"dovecot", "postfix"}, Reload: true, Due: never},
		{Name: "database", Needs: []string{"mysql"}, Before: []string{"dovecot", "postfix"}, Due: never},
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// settled observes a stack that is as d wants it.
func settled(d *Desired) *Observed {
	o := &Observed{
		Images: map[string]Image{}, Base: true, Volumes: map[string]VolumeState{},
		Stale: map[string]string{}, ReloadDue: map[string]bool{}, Joined: map[string]bool{}, TasksDue: map[string]string{},
	}
	for _, w := range d.Images {
		o.Images[w.Ref] = Image{ID: "sha256:" + w.Service}
	}
	for _, v := range d.Volumes {
		o.Volumes[v.Name] = VolumeState{
			Name: v.Name, Path: d.Layout.Volume(v.Name), Content: true,
			Mark: &Mark{StackID: d.ID, Volume: v.Name, Format: markFormat},
		}
	}
	for _, n := range d.Networks {
		o.Networks = append(o.Networks, Network{Name: n.Name, Outbound: n.Outbound, Labels: n.Labels})
	}
	for _, w := range d.Containers {
		o.Containers = append(o.Containers, Container{
			Name: w.Spec.Name, Image: w.Spec.Image, ImageID: "sha256:" + w.Service, Labels: maps.Clone(w.Spec.Labels),
			State: "running", HealthStatus: "healthy", Ports: w.Spec.Ports,
			Networks: map[string]NetworkEnd{w.Spec.Network: {}},
		})
	}
	return o
}

// bare observes a host that has nothing.
func bare(d *Desired) *Observed {
	o := &Observed{
		Images: map[string]Image{}, Volumes: map[string]VolumeState{}, ReloadDue: map[string]bool{},
		Stale: map[string]string{}, TasksDue: map[string]string{"certificate": "none yet"},
	}
	for _, v := range d.Volumes {
		o.Volumes[v.Name] = VolumeState{Name: v.Name, Path: d.Layout.Volume(v.Name), Empty: true}
	}
	for _, s := range d.Graph.Services {
		o.Stale[s.Name] = "not written yet"
	}
	return o
}

func firstStart(t *testing.T) *pair {
	t.Helper()
	p := settledPair(t, func(_ *Settings, id *Identity) {
		id.Initialised, id.NewID, id.New = false, true, []string{"admin", "dovecot", "postfix", "probe", "srs", "srs-previous"}
	})
	p.o = bare(p.d)
	return p
}

// on returns the container of a service, to change it.
func (p *pair) on(service string) *Container {
	i := slices.IndexFunc(p.o.Containers, func(c Container) bool { return c.Labels[LabelService] == service })
	return &p.o.Containers[i]
}

func (p *pair) remove(service string) {
	p.o.Containers = slices.DeleteFunc(p.o.Containers, func(c Container) bool { return c.Labels[LabelService] == service })
}

// The digests of images change with the images.
var imageDigest = regexp.MustCompile(`(mailstack/\w+):[0-9a-f]{20}`)

func TestPlans(t *testing.T) {
	seen := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(scenarios)) {
		t.Run(name, func(t *testing.T) {
			in := scenarios[name](t)
			text := planText(t, in)
			// Pure: the same input gives the same plan, and is not touched.
			for _, again := range []*pair{in, scenarios[name](t)} {
				if other := planText(t, again); other != text {
					t.Errorf("another plan from the same input:\n%s\nafter:\n%s", other, text)
				}
			}
			golden(t, "testdata/plan/"+name+".txt", imageDigest.ReplaceAllString(text, "$1:…"))
		})
		seen[name+".txt"] = true
	}
	files, err := os.ReadDir("testdata/plan")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !seen[f.Name()] {
			t.Errorf("testdata/plan/%s belongs to no scenario", f.Name())
		}
	}
}

// planText is a plan with the numbers of the operations that each needs, or
// why there is none.
func planText(t *testing.T, in *pair) string {
	t.Helper()
	p, err := NewPlan(in.d, in.o, in.opts)
	if err != nil {
		if p != nil {
			t.Error("a plan beside an error")
		}
		return err.Error() + "\n"
	}
	text := p.String()
	for i, op := range p.Operations {
		if strings.ContainsAny(op.Cause+op.Subject, "\n\x1b") || op.Cause == "" {
			t.Errorf("operation %d has the cause %q", i, op.Cause)
		}
		for _, n := range op.Needs {
			if n >= i {
				t.Errorf("operation %d needs %d, which comes later", i, n)
			}
		}
		if len(op.Needs) > 0 {
			text += fmt.Sprintf("%d needs %v\n", i, op.Needs)
		}
	}
	return text
}

// What a changed key touches.
func TestPlanTouchesOnlyWhatChanged(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*Settings, *Identity)
		want   []string // containers
	}{
		"imaps":         {func(s *Settings, _ *Identity) { s.Ports = maps.Clone(s.Ports); s.Ports["imaps"] = 0 }, []string{"demo-dovecot"}},
		"smtp":          {func(s *Settings, _ *Identity) { s.Ports = maps.Clone(s.Ports); s.Ports["smtp"] = 2525 }, []string{"demo-postfix"}},
		"memory":        {func(s *Settings, _ *Identity) { s.Memory = map[string]int64{"dovecot": 1 << 30} }, []string{"demo-dovecot"}},
		"mirror":        {func(s *Settings, _ *Identity) { s.Mirror = "http://deb.example.org/debian" }, nil},
		"admin secret":  {renew("admin"), []string{"demo-mysql"}},
		"probe secret":  {renew("probe"), nil},
		"one's secret":  {renew("dovecot"), []string{"demo-dovecot"}},
		"vmail's place": {func(s *Settings, _ *Identity) { s.Layout.Paths = map[string]string{"vmail": "/srv/mail"} }, []string{"demo-dovecot"}},
	} {
		in := settledPair(t, test.change)
		p, err := NewPlan(in.d, in.o, Options{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var touched []string
		for _, op := range p.Operations {
			switch op.Action.(type) {
			case WaitReady, RunTask:
			default:
				touched = append(touched, strings.TrimPrefix(op.Subject, "container "))
			}
		}
		if !slices.Equal(touched, test.want) {
			t.Errorf("%s touches %v, want %v\n%s", name, touched, test.want, p)
		}
	}
}

func renew(name string) func(*Settings, *Identity) {
	return func(_ *Settings, id *Identity) {
		id.Secrets = maps.Clone(id.Secrets)
		id.Secrets[name] = newSecret(1763834400, strings.Repeat("B", secretLength))
	}
}

// The mounts are part of what a container is: a volume that moved means a new
// container.
func TestPlanSaysEveryPartThatChanged(t *testing.T) {
	in := settledPair(t, func(s *Settings, _ *Identity) {
		s.Ports = maps.Clone(s.Ports)
		s.Ports["smtp"] = 2525
		s.Memory = map[string]int64{"postfix": 1 << 30}
		s.Hostname = "mx.example.org"
	})
	in.o.Stale["postfix"] = `config/main.cf: "a" becomes "b"`
	p, err := NewPlan(in.d, in.o, Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := "configuration, host name, limits, ports changed (25->25 on 127.0.0.1 becomes 2525->25 on 127.0.0.1; " +
		"mail.example.org becomes mx.example.org; memory 256 MiB becomes memory 1024 MiB; " + `config/main.cf: "a" becomes "b")`
	if !slices.ContainsFunc(p.Operations, func(op Operation) bool { return op.Cause == want }) {
		t.Errorf("no operation with the cause %q:\n%s", want, p)
	}
}
