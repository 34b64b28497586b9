package stack

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ObstacleError is something that stands in the way of a plan and that up must
// not clear away by itself.
type ObstacleError struct {
	What string // what is in the way, where
	Fix  string // what a person can do
}

func (e *ObstacleError) Error() string { return e.What + "; " + e.Fix }

// check collects everything that forbids a plan.
func (p *planner) check() error {
	var errs []error
	obstacle := func(fix, format string, args ...any) {
		errs = append(errs, &ObstacleError{What: fmt.Sprintf(format, args...), Fix: fix})
	}
	other := "remove or rename it, or give this stack another `name` in mailstack.toml"
	for _, c := range p.o.Foreign {
		obstacle(other, "container %s exists and was not made for this stack", c.Name)
	}
	for _, n := range p.o.Taken {
		obstacle(other, "network %s exists and was not made for this stack", n.Name)
	}
	if what, id := p.otherStack(); what != "" {
		obstacle("give one of the two another `name`, or take the other down with its own `mailstack down` (docker rm -f, if its data directory is gone)",
			"%s belongs to another stack named %s (id %s), not to the one in %s", what, p.d.Name, id, p.d.Layout.Dir)
	}
	for _, name := range p.opts.InitVolumes {
		if !slices.ContainsFunc(p.d.Volumes, func(v VolumeWanted) bool { return v.Name == name }) {
			obstacle("the volumes are "+strings.Join(p.volumeNames(), ", "), "there is no volume %q", name)
		}
	}
	for _, v := range p.d.Volumes {
		if err := p.checkVolume(v); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// otherStack finds an object of a stack of the same name: one is enough to
// say so.
func (p *planner) otherStack() (what, id string) {
	for _, c := range p.o.Containers {
		if id := c.Labels[LabelID]; id != p.d.ID {
			return "container " + c.Name, id
		}
	}
	for _, n := range p.o.Networks {
		if id := n.Labels[LabelID]; id != p.d.ID {
			return "network " + n.Name, id
		}
	}
	return "", ""
}

func (p *planner) volumeNames() []string {
	var names []string
	for _, v := range p.d.Volumes {
		names = append(names, v.Name)
	}
	return names
}

// checkVolume refuses a volume that is not this stack's. Only the first up, or
// a person with --init-volume, may make a volume, and only where nothing is:
// an empty database answers "no such user" for everybody, and mail bounces.
func (p *planner) checkVolume(v VolumeWanted) error {
	state := p.o.Volumes[v.Name]
	at := "volume " + v.Name + " at " + state.Path
	switch asked := slices.Contains(p.opts.InitVolumes, v.Name); {
	case state.Problem != nil:
		return &ObstacleError{What: at + " cannot be looked at: " + state.Problem.Error(), Fix: "is the path of [data] right?"}
	case state.Complete(p.d.ID):
		if s, _ := p.d.Graph.Service(v.Service); v.Init && slices.Contains(p.d.New, AdminSecret) && slices.Contains(s.Secrets, AdminSecret) {
			return &ObstacleError{
				What: "the secret " + AdminSecret + " is gone, and " + at + " was made with it",
				Fix:  "restore " + p.d.Layout.SecretFile(AdminSecret) + ", or begin anew with mailstack down --purge",
			}
		}
		if asked {
			return &ObstacleError{What: at + " is complete", Fix: "--init-volume makes only what is not there; to start anew, move its content away first"}
		}
		return nil
	case state.Mark != nil && state.Mark.StackID != p.d.ID:
		return &ObstacleError{
			What: fmt.Sprintf("%s belongs to another stack (its mark says %s, this one is %s)", at, state.Mark.StackID, p.d.ID),
			Fix:  "set [data] to this stack's own path, or move the other one's files away",
		}
	case state.Mark != nil && state.Mark.Volume != v.Name:
		return &ObstacleError{What: fmt.Sprintf("%s is this stack's volume %s", at, state.Mark.Volume), Fix: "the paths of [data] are mixed up: set each to its own volume"}
	case state.Mark != nil:
		return &ObstacleError{What: at + " has its mark but its content is gone", Fix: "restore " + contentName(v.Name) + "/ from a backup, or remove the mark and run mailstack up --init-volume " + v.Name}
	case state.Renamed:
		return nil // asked for then, and whole: only the mark is missing
	case !state.Empty:
		return &ObstacleError{
			What: fmt.Sprintf("%s holds files but no mark of this stack (%s)", at, strings.Join(append(state.Strange, contentNames(state, v)...), ", ")),
			Fix:  "move them away, or set [data] to another path",
		}
	case p.initialised(v.Service) && !asked:
		return &ObstacleError{
			What: at + " is empty, but this stack has been up before (is its disk mounted?)",
			Fix:  "mount it; if its content is really gone, mailstack up --init-volume " + v.Name + " starts it empty",
		}
	}
	return nil
}

// initialised says whether a service's volumes have been made, once and for all:
// by the stack's first up, or by the first with a service that can be left out.
func (p *planner) initialised(service string) bool {
	s, _ := p.d.Graph.Service(service)
	return p.d.Initialised && (s.Option == "" || p.o.Joined[service])
}

func contentNames(state VolumeState, v VolumeWanted) []string {
	if state.Content {
		return []string{contentName(v.Name)}
	}
	return nil
}
