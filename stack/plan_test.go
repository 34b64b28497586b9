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
	for _, name := range []string{"admin", "dovecot", "postfix", "probe"} {
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
		Stale: map[string]string{}, ReloadDue: map[string]bool{}, TasksDue: map[string]string{},
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
	for _, name := range d.Networks {
		o.Networks = append(o.Networks, Network{Name: name, Labels: map[string]string{LabelStack: d.Name, LabelID: d.ID}})
	}
	for _, w := range d.Containers {
		o.Containers = append(o.Containers, Container{
			Name: w.Spec.Name, Image: w.Spec.Image, ImageID: "sha256:" + w.Service, Labels: maps.Clone(w.Spec.Labels),
			State: "running", HealthStatus: "healthy", Ports: w.Spec.Ports,
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
		id.Initialised, id.NewID, id.New = false, true, []string{"admin", "dovecot", "postfix", "probe"}
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

// scenarios are the plans that testdata/plan holds.
var scenarios = map[string]func(t *testing.T) *pair{
	"first-start":   firstStart,
	"nothing-to-do": func(t *testing.T) *pair { return settledPair(t, nil) },
	"container-missing": func(t *testing.T) *pair {
		p := settledPair(t, nil)
		p.remove("dovecot")
		return p
	},
	"database-exited": func(t *testing.T) *pair {
		p := settledPair(t, nil)
		c := p.on("mysql")
		c.State, c.HealthStatus, c.ExitCode, c.OOMKilled = "exited", "", 137, true
		return p
	},
	"start-failed": func(t *testing.T) *pair {
		p := settledPair(t, nil)
		c := p.on("postfix")
		c.State, c.HealthStatus, c.Error = "created", "", "driver failed programming external connectivity:\nport is already allocated\x1b[31m"
		return p
	},
	"paused-and-crash-loop": func(t *testing.T) *pair {
		p := settledPair(t, nil)
		p.on("dovecot").State = "paused"
		p.on("postfix").State = "restarting"
		return p
	},
	"dead": func(t *testing.T) *pair {
		p := settledPair(t, nil)
		p.on("postfix").State = "dead"
		return p
	},
	"message-size-changed": func(t *testing.T) *pair {
		p := settledPair(t, func(set *Settings, _ *Identity) { set.MessageBytes = 10 << 20 })
		p.o.Stale["postfix"] = `config/main.cf: "message_size_limit = 52428800" becomes "message_size_limit = 10485760"`
		return p
	},
	"port-changed": func(t *testing.T) *pair {
		return settledPair(t, func(set *Settings, _ *Identity) {
			set.Ports = maps.Clone(set.Ports)
			set.Ports["imaps"] = 1993
		})
	},
	"memory-changed": func(t *testing.T) *pair {
		return settledPair(t, func(set *Settings, _ *Identity) { set.Memory = map[string]int64{"mysql": 1 << 30} })
	},
	"made-by-another-version": func(t *testing.T) *pair {
		p := settledPair(t, nil)
		c := p.on("postfix")
		c.Labels[LabelSpec], c.Labels[LabelParts] = "other", ""
		return p
	},
	"image-missing": func(t *testing.T) *pair {
		p := settledPair(t, nil)
		delete(p.o.Images, p.d.Image("dovecot").Ref)
		p.o.Base = false
		return p
	},
	"image-rebuilt": func(t *testing.T) *pair {
		p := settledPair(t, nil)
		p.o.Images[p.d.Image("postfix").Ref] = Image{ID: "sha256:new"}
		return p
	},
	"network-missing": func(t *testing.T) *pair {
		p := settledPair(t, nil)
		p.o.Networks = p.o.Networks[:1]
		p.on("postfix").State = "exited"
		return p
	},
	"unhealthy": func(t *testing.T) *pair {
		p := settledPair(t, nil)
		c := p.on("dovecot")
		c.HealthStatus, c.HealthOutput = "unhealthy", "imap: no banner in 5 s\n"
		return p
	},
	"secret-gone": func(t *testing.T) *pair {
		p := settledPair(t, func(_ *Settings, id *Identity) {
			id.Secrets = maps.Clone(id.Secrets)
			id.Secrets["postfix"], id.New = newSecret(1763834400, strings.Repeat("B", secretLength)), []string{"postfix"}
		})
		p.o.Stale["postfix"] = "secret/accounts.cf changes"
		p.o.TasksDue["database"] = "the services' database users are not as they must be"
		return p
	},
	"certificate-due": func(t *testing.T) *pair {
		p := settledPair(t, nil)
		p.o.TasksDue["certificate"] = "29 days left of 90"
		return p
	},
	"certificate-due-and-unhealthy": func(t *testing.T) *pair {
		p := settledPair(t, nil)
		p.o.TasksDue["certificate"] = "29 days left of 90"
		p.on("postfix").HealthStatus = "unhealthy"
		return p
	},
	"reload-interrupted": func(t *testing.T) *pair {
		p := settledPair(t, nil)
		p.o.ReloadDue["dovecot"] = true
		return p
	},
	"files-changed-by-hand": func(t *testing.T) *pair {
		p := settledPair(t, nil)
		p.o.Stale["dovecot"] = "config/dovecot.conf is missing"
		return p
	},
	"leftovers": func(t *testing.T) *pair {
		p := settledPair(t, nil)
		labels := map[string]string{LabelStack: "demo", LabelID: testID}
		p.o.Containers = append(p.o.Containers, Container{Name: "demo-mysql-init", Labels: labels, State: "exited"}, Container{Name: "demo-filter", Labels: labels, State: "running"})
		p.o.Networks = append(p.o.Networks, Network{Name: "demo-filter", Labels: labels})
		p.remove("postfix")
		return p
	},
	"init-interrupted": func(t *testing.T) *pair {
		p := settledPair(t, func(_ *Settings, id *Identity) { id.Initialised = false })
		p.o.Containers = []Container{{Name: "demo-mysql-init", State: "running", Labels: map[string]string{LabelStack: "demo", LabelID: testID, LabelService: "mysql"}}}
		p.o.Volumes["mysql"] = VolumeState{Name: "mysql", Path: "/var/lib/mailstack/mysql", Empty: true}
		p.o.Volumes["vmail"] = VolumeState{Name: "vmail", Path: "/var/lib/mailstack/vmail", Content: true, Renamed: true}
		return p
	},
	"interrupted-before-ready": func(t *testing.T) *pair {
		p := settledPair(t, nil)
		p.on("mysql").HealthStatus = "starting"
		p.remove("dovecot")
		p.remove("postfix")
		p.o.TasksDue["database"] = "the database does not answer yet"
		return p
	},
	"just-started": func(t *testing.T) *pair {
		// The engine's own checks come late: that is no reason to do anything.
		p := settledPair(t, nil)
		for i := range p.o.Containers {
			p.o.Containers[i].HealthStatus = "starting"
		}
		return p
	},
	"init-volume": func(t *testing.T) *pair {
		p := settledPair(t, nil)
		p.o.Volumes["mysql"] = VolumeState{Name: "mysql", Path: "/var/lib/mailstack/mysql", Empty: true}
		p.opts.InitVolumes = []string{"mysql"}
		return p
	},
	"init-volume-of-sockets": func(t *testing.T) *pair {
		p := settledPair(t, nil)
		p.o.Volumes["socket/dovecot"] = VolumeState{Name: "socket/dovecot", Path: "/var/lib/mailstack/socket/dovecot", Empty: true}
		p.opts.InitVolumes = []string{"socket/dovecot"}
		return p
	},
	"refuse-foreign": func(t *testing.T) *pair {
		p := settledPair(t, nil)
		p.remove("mysql")
		p.o.Foreign = []Container{{Name: "demo-mysql"}}
		p.o.Networks = p.o.Networks[:1]
		p.o.Taken = []Network{{Name: "demo-postfix"}}
		return p
	},
	"refuse-other-stack": func(t *testing.T) *pair {
		p := settledPair(t, nil)
		for i := range p.o.Containers {
			p.o.Containers[i].Labels[LabelID] = otherID
		}
		return p
	},
	"refuse-other-stacks-network": func(t *testing.T) *pair {
		p := settledPair(t, nil)
		p.o.Networks[1].Labels = map[string]string{LabelStack: "demo", LabelID: otherID}
		return p
	},
	"refuse-container-without-id": func(t *testing.T) *pair {
		p := settledPair(t, nil)
		delete(p.on("mysql").Labels, LabelID)
		return p
	},
	"refuse-volumes": func(t *testing.T) *pair {
		p := settledPair(t, nil)
		change := func(name string, change func(*VolumeState)) {
			v := p.o.Volumes[name]
			change(&v)
			p.o.Volumes[name] = v
		}
		change("mysql", func(v *VolumeState) { v.Mark, v.Content, v.Empty = nil, false, true })
		change("vmail", func(v *VolumeState) { v.Mark = nil })
		change("queue", func(v *VolumeState) { v.Mark.StackID = otherID })
		change("socket/mysql", func(v *VolumeState) { v.Mark, v.Content, v.Strange = nil, false, []string{"a", "b"} })
		change("socket/dovecot", func(v *VolumeState) { v.Content = false })
		change("socket/postfix", func(v *VolumeState) { v.Problem = errors.New("input/output error") })
		return p
	},
	"refuse-swapped-paths": func(t *testing.T) *pair {
		p := settledPair(t, nil)
		p.o.Volumes["mysql"].Mark.Volume, p.o.Volumes["vmail"].Mark.Volume = "vmail", "mysql"
		return p
	},
	"refuse-init-volume": func(t *testing.T) *pair {
		p := settledPair(t, nil)
		p.opts.InitVolumes = []string{"vmail", "mail"}
		return p
	},
	"refuse-first-start-on-data": func(t *testing.T) *pair {
		p := firstStart(t)
		p.o.Volumes["vmail"] = VolumeState{Name: "vmail", Path: "/var/lib/mailstack/vmail", Content: true}
		p.o.Volumes["queue"] = VolumeState{
			Name: "queue", Path: "/var/lib/mailstack/queue", Content: true,
			Mark: &Mark{StackID: otherID, Volume: "queue", Format: 1},
		}
		return p
	},
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
	want := `configuration, host name, limits, ports changed (config/main.cf: "a" becomes "b")`
	if !slices.ContainsFunc(p.Operations, func(op Operation) bool { return op.Cause == want }) {
		t.Errorf("no operation with the cause %q:\n%s", want, p)
	}
}
