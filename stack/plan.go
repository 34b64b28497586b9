package stack

import (
	"fmt"
	"slices"
	"strings"
)

// Plan is what must be done to get from the observed to the desired stack: a
// pure function of the two. It is both what a user reads and what the executor
// does; the executor decides nothing.
type Plan struct {
	Operations []Operation
}

// Operation is one step. Its dependencies come before it in the plan.
type Operation struct {
	Action  Action
	Subject string // "container demo-dovecot"
	Cause   string // why it is done, for people
	Needs   []int  // indexes of operations that must have succeeded before
}

// Action is what an operation does: one of the types in actions.go.
type Action interface {
	// Verb is for people: "build", "start".
	Verb() string
}

// Empty says that there is nothing to do.
func (p *Plan) Empty() bool { return len(p.Operations) == 0 }

// String is the plan as people read it, and the form of golden tests.
func (p *Plan) String() string {
	if p.Empty() {
		return "nothing to do\n"
	}
	var b strings.Builder
	width, verb := 0, 0
	for _, op := range p.Operations {
		width, verb = max(width, len(op.Subject)), max(verb, len(op.Action.Verb()))
	}
	for _, op := range p.Operations {
		fmt.Fprintf(&b, "%-*s  %-*s  %s\n", verb, op.Action.Verb(), width, op.Subject, op.Cause)
	}
	return b.String()
}

// Options are what a person may ask for beyond the configuration.
type Options struct {
	// InitVolumes names volumes that may be initialised although the stack
	// has been up before.
	InitVolumes []string
}

// NewPlan compares the two states. Its error lists everything that stands in
// the way; nothing has been changed then.
func NewPlan(d *Desired, o *Observed, opts Options) (*Plan, error) {
	p := &planner{
		d: d, o: o, opts: opts, ready: map[string]int{}, awaited: map[string]int{}, files: map[string]int{}, task: map[string]int{},
		image: map[string]int{}, removed: map[string]int{}, before: map[string][]int{},
	}
	if err := p.check(); err != nil {
		return nil, err
	}
	p.identity()
	p.images()
	p.writeFiles()
	p.leftoverContainers()
	p.volumes()
	p.networks()
	p.tasks(func(t Task) bool { return len(t.Needs) == 0 })
	p.containers()
	p.leftoverNetworks()
	return &p.plan, nil
}

// planner builds a plan; its maps remember which operation provides what.
type planner struct {
	d    *Desired
	o    *Observed
	opts Options
	plan Plan

	first   []int          // identity: all that writes below the data directory needs it
	image   map[string]int // by service
	files   map[string]int // by service
	task    map[string]int // by name
	cleared []int          // removals of what may hold ports and volumes
	fill    []int          // initialisations of volumes
	removed map[string]int // by service: the removal that an initialisation needs
	network []int
	before  map[string][]int // by service: tasks that come before it
	ready   map[string]int   // by service: the wait for one that is started here
	awaited map[string]int   // by service: the wait for one that was starting before
}

func (p *planner) add(a Action, subject, cause string, needs ...int) int {
	slices.Sort(needs)
	p.plan.Operations = append(p.plan.Operations, Operation{
		Action: a, Subject: subject, Cause: lastLines(cause, 3), Needs: slices.Compact(needs),
	})
	return len(p.plan.Operations) - 1
}

func (p *planner) identity() {
	if p.d.NewID {
		p.first = append(p.first, p.add(WriteID{}, "stack "+p.d.Name, "the first start in "+p.d.Layout.Dir))
	}
	for _, name := range p.d.New {
		cause := "none yet"
		if p.d.Initialised && !p.joining(name) {
			cause = "the file is gone: a new one is made"
		}
		p.first = append(p.first, p.add(WriteSecret{Name: name}, "secret "+name, cause, p.first...))
	}
}

// joining says whether a secret is new because the services that know it are.
func (p *planner) joining(secret string) bool {
	known := false
	for _, s := range p.d.Graph.Services {
		if slices.Contains(s.Secrets, secret) {
			known = true
			if p.initialised(s.Name) {
				return false
			}
		}
	}
	return known
}

func (p *planner) images() {
	var base []int
	if !p.o.Base {
		base = append(base, p.add(FetchBase{}, "image "+p.d.Base, "the base of the other images, not on this host"))
	}
	for _, w := range p.d.Images {
		if _, there := p.o.Images[w.Ref]; !there {
			p.image[w.Service] = p.add(BuildImage{Image: w}, "image "+w.Ref, "not built yet", base...)
		}
	}
}

func (p *planner) writeFiles() {
	for _, s := range p.d.Graph.Services {
		if why := p.o.Stale[s.Name]; why != "" {
			p.files[s.Name] = p.add(WriteFiles{Service: s.Name}, "files of "+s.Name, why, p.first...)
		}
	}
}

func (p *planner) volumes() {
	var wait []int
	for _, v := range p.d.Volumes {
		state := p.o.Volumes[v.Name]
		if state.Complete(p.d.ID) {
			continue
		}
		needs := slices.Concat(p.first, p.cleared)
		if v.Init {
			needs = append(needs, p.needs(p.image, v.Service)...)
			needs = append(needs, p.needs(p.files, v.Service)...)
		}
		needs = append(needs, p.removeUsers(v)...)
		cause := "new"
		if state.Renamed {
			cause = "its initialisation was interrupted at the last step"
		} else if p.initialised(v.Service) {
			cause = "asked for with --init-volume"
		}
		op := p.add(InitVolume{Volume: v, MarkOnly: state.Renamed}, "volume "+v.Name+" at "+state.Path, cause, needs...)
		p.fill = append(p.fill, op)
		wait = append(wait, op)
	}
	for _, s := range p.d.Graph.Services {
		if s.Option != "" && !p.o.Joined[s.Name] {
			needs := slices.Concat(wait, p.first, p.needs(p.files, s.Name))
			p.fill = append(p.fill, p.add(JoinService{Service: s.Name}, "service "+s.Name, "its volumes are there: they are not made anew from now on", needs...))
		}
	}
	if !p.d.Initialised {
		p.fill = append(p.fill, p.add(CompleteID{}, "stack "+p.d.Name, "all volumes are there: nothing is initialised from now on", append(wait, p.first...)...))
	}
}

// removeUsers removes every container that has a volume mounted: it would go on
// with the directory that was there before, whatever is made in its place.
func (p *planner) removeUsers(v VolumeWanted) (needs []int) {
	for _, w := range p.d.Containers {
		_, there := p.o.container(w.Spec.Name)
		mounted := slices.ContainsFunc(w.Spec.Mounts, func(m Mount) bool { return m.Source == p.d.Layout.Content(v.Name) })
		if !there || !mounted {
			continue
		}
		if _, done := p.removed[w.Service]; !done {
			p.removed[w.Service] = p.add(RemoveContainer{Name: w.Spec.Name}, "container "+w.Spec.Name, "the volume "+v.Name+" is made anew")
		}
		needs = append(needs, p.removed[w.Service])
	}
	return needs
}

func (p *planner) networks() {
	for _, want := range p.d.Networks {
		is, there := p.o.network(want.Name)
		subject, cause := "network "+want.Name, "not there"
		var needs []int
		if there && is.Outbound == want.Outbound {
			continue
		}
		if there {
			cause = "its containers are to answer and not to call other hosts"
			if want.Outbound {
				cause = "its containers are to call other hosts"
			}
			needs = p.removeNetwork(want.Name, cause)
		}
		p.network = append(p.network, p.add(CreateNetwork{Spec: want}, subject, cause, needs...))
	}
}

// removeNetwork removes a network and first the container that is on it, which
// has its name.
func (p *planner) removeNetwork(name, cause string) []int {
	var users []int
	for _, w := range p.d.Containers {
		if _, there := p.o.container(name); !there || w.Spec.Name != name {
			continue
		}
		if _, done := p.removed[w.Service]; !done {
			p.removed[w.Service] = p.add(RemoveContainer{Name: name}, "container "+name, "its network is made anew")
		}
		users = append(users, p.removed[w.Service])
	}
	return []int{p.add(RemoveNetwork{Name: name}, "network "+name, cause, users...)}
}

// tasks plans the due tasks that belong at this place in the order.
func (p *planner) tasks(here func(Task) bool) {
	for _, t := range p.d.Tasks {
		if !here(t) {
			continue
		}
		cause := p.o.TasksDue[t.Name]
		needs := slices.Clone(p.first)
		needs = append(needs, p.fill...)
		for _, op := range p.files {
			needs = append(needs, op)
		}
		for _, name := range t.Needs {
			if _, starting := p.ready[name]; starting && cause == "" {
				cause = name + " starts"
			}
		}
		if cause == "" {
			continue
		}
		needs = append(needs, p.await(t.Needs)...)
		needs = append(needs, p.needs(p.task, t.After)...)
		op := p.add(RunTask{Task: t}, t.Name, cause, needs...)
		p.task[t.Name] = op
		for _, name := range t.Before {
			p.before[name] = append(p.before[name], op)
		}
	}
}

func (p *planner) containers() {
	done := []string{}
	for _, w := range p.d.Containers {
		p.container(w)
		done = append(done, w.Service)
		p.tasks(func(t Task) bool {
			return len(t.Needs) > 0 && t.Needs[len(t.Needs)-1] == w.Service && subset(t.Needs, done)
		})
	}
}

func subset(a, of []string) bool {
	for _, s := range a {
		if !slices.Contains(of, s) {
			return false
		}
	}
	return true
}

// container plans one service's container: nothing, a reload, a start, or a
// new one, and the wait until it answers.
func (p *planner) container(w ContainerWanted) {
	is, there := p.o.container(w.Spec.Name)
	name, why := w.Spec.Name, p.whyReplace(w, is)
	_, gone := p.removed[w.Service]
	switch {
	case gone:
		p.start(w, CreateContainer{Spec: w.Spec}, "what it uses was made anew")
	case !there:
		p.start(w, CreateContainer{Spec: w.Spec}, "not there")
	case why != "":
		p.start(w, ReplaceContainer{Spec: w.Spec}, why)
	case is.State == "dead":
		p.start(w, ReplaceContainer{Spec: w.Spec}, whyStart(is))
	case is.State == "paused", is.State == "restarting":
		// A start does nothing to these.
		p.start(w, RestartContainer{Name: name}, whyStart(is))
	case is.State != "running":
		p.start(w, StartContainer{Name: name}, whyStart(is))
	case p.o.Stale[w.Service] != "":
		p.start(w, RestartContainer{Name: name}, "its files were changed by another hand: "+p.o.Stale[w.Service])
	case p.o.Gone[w.Service] != "":
		p.start(w, RestartContainer{Name: name}, "its socket "+p.o.Gone[w.Service]+" is gone")
	case is.HealthStatus == "unhealthy":
		p.start(w, RestartContainer{Name: name}, "is unhealthy: "+is.HealthOutput)
	case p.reloads(w.Service) != "":
		p.add(ReloadContainer{Name: name}, "container "+name, "to serve the new "+p.reloads(w.Service), p.before[w.Service]...)
	case p.o.ReloadDue[w.Service]:
		p.add(ReloadContainer{Name: name}, "container "+name, "an earlier reload was interrupted", p.before[w.Service]...)
	}
}

// start plans what makes a service's container run, after all that it needs,
// and the wait for it.
func (p *planner) start(w ContainerWanted, a Action, cause string) {
	needs := slices.Concat(p.cleared, p.fill, p.network, p.before[w.Service], p.await(w.StartsAfter),
		p.needs(p.image, w.Service), p.needs(p.files, w.Service), p.needs(p.removed, w.Service))
	p.wait(w, p.add(a, "container "+w.Spec.Name, cause, needs...))
}

// await returns the waits for services, planning one for each that runs but
// has not answered yet: an interrupted up left it so.
func (p *planner) await(services []string) (needs []int) {
	for _, name := range services {
		if op, starting := p.ready[name]; starting {
			needs = append(needs, op)
			continue
		}
		c, there := p.o.container(ContainerName(p.d.Name, name))
		if !there || c.State != "running" || c.HealthStatus != "starting" {
			continue
		}
		if _, planned := p.awaited[name]; !planned {
			p.awaited[name] = p.add(WaitReady{Name: c.Name}, name, "it was started and has not answered yet")
		}
		needs = append(needs, p.awaited[name])
	}
	return needs
}

// wait adds the wait until a service that was touched is ready.
func (p *planner) wait(w ContainerWanted, op int) {
	p.ready[w.Service] = p.add(WaitReady{Name: w.Spec.Name}, w.Service, "until it answers", op)
}

// reloads names the task after which a service must reload; "" for none.
func (p *planner) reloads(service string) string {
	for _, op := range p.before[service] {
		if t, ok := p.plan.Operations[op].Action.(RunTask); ok && t.Task.Reload {
			return t.Task.Name
		}
	}
	return ""
}

// leftoverContainers removes containers of this stack that nothing wants: of
// services that are gone, of interrupted initialisations. That is done before
// anything is made or started, since they may hold ports and volumes.
func (p *planner) leftoverContainers() {
	for _, c := range p.o.Containers {
		if !slices.ContainsFunc(p.d.Containers, func(w ContainerWanted) bool { return w.Spec.Name == c.Name }) {
			p.cleared = append(p.cleared, p.add(RemoveContainer{Name: c.Name}, "container "+c.Name, "no longer part of the stack"))
		}
	}
}

// leftoverNetworks removes networks that nothing wants, once nothing uses them.
func (p *planner) leftoverNetworks() {
	var users []int
	for i, op := range p.plan.Operations {
		switch op.Action.(type) {
		case RemoveContainer, ReplaceContainer:
			users = append(users, i)
		}
	}
	for _, n := range p.o.Networks {
		if !slices.ContainsFunc(p.d.Networks, func(want NetworkSpec) bool { return want.Name == n.Name }) {
			p.add(RemoveNetwork{Name: n.Name}, "network "+n.Name, "no longer part of the stack", slices.Clone(users)...)
		}
	}
}

func (p *planner) needs(of map[string]int, service string) []int {
	if op, ok := of[service]; ok {
		return []int{op}
	}
	return nil
}
