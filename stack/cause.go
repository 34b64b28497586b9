package stack

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// What a person reads about why a container is not left as it is.

// whyReplace compares a container with its specification.
func (p *planner) whyReplace(w ContainerWanted, is Container) string {
	if is.Labels[LabelSpec] == w.Spec.Labels[LabelSpec] {
		_, bridge := p.o.network(w.Spec.Network)
		img, there := p.o.Images[w.Spec.Image]
		switch {
		case !there:
			return "its image is gone and is built again"
		case is.ImageID != img.ID:
			return "its image was rebuilt"
		case w.Spec.Network != "none" && !bridge:
			return "its network is gone"
		case !attached(is, w.Spec.Network):
			return "it was taken off its network"
		}
		return mountsChanged(w.Spec.Mounts, is.Mounts)
	}
	var was map[string]string
	if json.Unmarshal([]byte(is.Labels[LabelParts]), &was) != nil {
		return "it was made by another version of mailstack"
	}
	var changed, details []string
	for part, is := range w.Parts {
		if was[part] == is {
			continue
		}
		changed = append(changed, part)
		if readable(part) && was[part] != "" {
			details = append(details, difference(was[part], is))
		}
	}
	for part := range was {
		if _, wanted := w.Parts[part]; !wanted {
			changed = append(changed, part)
		}
	}
	slices.Sort(changed)
	slices.Sort(details)
	if stale := p.o.Stale[w.Service]; slices.Contains(changed, "configuration") && stale != "" && stale != "not written yet" {
		details = append(details, stale)
	}
	why := strings.Join(changed, ", ") + " changed"
	if len(details) > 0 {
		why += " (" + strings.Join(details, "; ") + ")"
	}
	return why
}

// attached says whether a container is on the network that it should be on.
func attached(c Container, network string) bool {
	_, on := c.Networks[network]
	return on
}

func whyStart(c Container) string { return "is " + c.Condition() }

// Condition is the state of a container, and why it is in it: "exited with
// status 137, out of memory".
func (c Container) Condition() string {
	is := c.State
	if c.State != "running" && c.ExitCode != 0 {
		is += fmt.Sprintf(" with status %d", c.ExitCode)
	}
	if c.OOMKilled {
		is += ", out of memory"
	}
	if c.Error != "" {
		is += ": " + c.Error
	}
	return is
}

// readable says whether a part is kept as people read it, not as a hash, so
// that a cause can name the old value and the new one.
func readable(part string) bool {
	return slices.Contains([]string{"ports", "host name", "limits", "name servers"}, part)
}

// difference says what changed between two readable parts, which are lists.
func difference(was, is string) string {
	a, b := strings.Split(was, ", "), strings.Split(is, ", ")
	gone := slices.DeleteFunc(slices.Clone(a), func(s string) bool { return slices.Contains(b, s) })
	come := slices.DeleteFunc(slices.Clone(b), func(s string) bool { return slices.Contains(a, s) })
	switch {
	case len(gone) == 0:
		return strings.Join(come, ", ") + " comes"
	case len(come) == 0:
		return strings.Join(gone, ", ") + " goes"
	}
	return strings.Join(gone, ", ") + " becomes " + strings.Join(come, ", ")
}
