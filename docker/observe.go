package docker

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"golang.org/x/sync/errgroup"

	"mailstack/stack"
)

// inspections is how many containers are looked at at once. The client keeps
// this many connections for reuse.
const inspections = 6

// Containers lists the containers of a stack, or of all stacks, by name. One
// that is removed meanwhile is left out.
func (e *Engine) Containers(ctx context.Context, stackName string) ([]stack.Container, error) {
	listed, err := e.client.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: stackFilter(stackName)})
	if err != nil {
		return nil, e.fail("list containers", err)
	}
	// The list has neither health output nor exit code nor the start's error.
	found := make([]*stack.Container, len(listed.Items))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(inspections)
	for i, item := range listed.Items {
		group.Go(func() error {
			result, err := e.client.ContainerInspect(groupCtx, item.ID, client.ContainerInspectOptions{})
			if errdefs.IsNotFound(err) {
				return nil
			}
			if err != nil {
				return e.fail("inspect container "+item.ID, err)
			}
			c := observed(result.Container)
			found[i] = &c
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var containers []stack.Container
	for _, c := range found {
		if c != nil {
			containers = append(containers, *c)
		}
	}
	slices.SortFunc(containers, func(a, b stack.Container) int { return cmp.Compare(a.Name, b.Name) })
	return containers, nil
}

// Container finds a container by name or full ID.
func (e *Engine) Container(ctx context.Context, name string) (stack.Container, error) {
	result, err := e.client.ContainerInspect(ctx, name, client.ContainerInspectOptions{})
	if err != nil {
		return stack.Container{}, e.fail("inspect container "+name, err)
	}
	c := observed(result.Container)
	if c.Name != name && c.ID != name { // the engine also takes the beginning of an ID
		return stack.Container{}, wrap("inspect container "+name, stack.ErrNotFound)
	}
	return c, nil
}

// stackFilter selects by LabelStack, of one stack or of all.
func stackFilter(stackName string) client.Filters {
	label := stack.LabelStack
	if stackName != "" {
		label += "=" + stackName
	}
	return make(client.Filters).Add("label", label)
}

// observed translates the engine's description of a container.
func observed(in container.InspectResponse) stack.Container {
	out := stack.Container{
		ID:           in.ID,
		Name:         strings.TrimPrefix(in.Name, "/"),
		ImageID:      in.Image,
		RestartCount: in.RestartCount,
		Mounts:       observedMounts(in.Mounts),
		Networks:     map[string]stack.NetworkEnd{},
	}
	if in.Config != nil {
		out.Image = in.Config.Image
		out.Labels = in.Config.Labels
	}
	if s := in.State; s != nil {
		out.State = string(s.Status)
		out.PID = s.Pid
		out.ExitCode = s.ExitCode
		out.Error = withoutID(s.Error)
		out.OOMKilled = s.OOMKilled
		out.StartedAt = parseTime(s.StartedAt)
		out.HealthStatus, out.HealthOutput = observedHealth(s.Health)
	}
	if in.HostConfig != nil {
		out.Ports = observedPorts(in.HostConfig.PortBindings)
	}
	if n := in.NetworkSettings; n != nil {
		// What is really bound, once it runs: it names the ports that the
		// engine chose.
		if bound := observedPorts(n.Ports); len(bound) > 0 {
			out.Ports = bound
		}
		for name, end := range n.Networks {
			if end != nil {
				out.Networks[name] = networkEnd(end)
			}
		}
	}
	return out
}

func networkEnd(end *network.EndpointSettings) stack.NetworkEnd {
	if !end.IPAddress.IsValid() && end.GlobalIPv6Address.IsValid() {
		return stack.NetworkEnd{Address: end.GlobalIPv6Address, Gateway: end.IPv6Gateway}
	}
	return stack.NetworkEnd{Address: end.IPAddress, Gateway: end.Gateway}
}

// observedHealth is empty for a container without a health check, which some
// versions of the engine report as "none".
func observedHealth(h *container.Health) (status, output string) {
	if h == nil || h.Status == container.NoHealthcheck {
		return "", ""
	}
	if n := len(h.Log); n > 0 && h.Log[n-1] != nil {
		output = strings.TrimSpace(h.Log[n-1].Output)
	}
	return string(h.Status), output
}

func observedMounts(points []container.MountPoint) []stack.Mount {
	var out []stack.Mount
	for _, p := range points {
		if p.Type == mount.TypeBind {
			out = append(out, stack.Mount{Source: p.Source, Target: p.Destination, ReadOnly: !p.RW})
		}
	}
	slices.SortFunc(out, func(a, b stack.Mount) int { return cmp.Compare(a.Target, b.Target) })
	return out
}

func observedPorts(bindings network.PortMap) []stack.Port {
	var out []stack.Port
	for port, hosts := range bindings {
		if port.Proto() != network.TCP {
			continue
		}
		for _, h := range hosts {
			number, err := strconv.ParseUint(cmp.Or(h.HostPort, "0"), 10, 16)
			if err != nil {
				continue // a range, which only others ask for
			}
			out = append(out, stack.Port{Address: h.HostIP, Host: uint16(number), Container: port.Num()})
		}
	}
	slices.SortFunc(out, func(a, b stack.Port) int {
		return cmp.Or(cmp.Compare(a.Container, b.Container), a.Address.Compare(b.Address), cmp.Compare(a.Host, b.Host))
	})
	return out
}

// parseTime reads the engine's times; what never was is the zero time.
func parseTime(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return time.Time{}
	}
	return t
}

// published lists where a container's ports are to be bound on the host.
func published(ports []stack.Port) []netip.AddrPort {
	var out []netip.AddrPort
	for _, p := range ports {
		if p.Host != 0 {
			out = append(out, netip.AddrPortFrom(p.Address, p.Host))
		}
	}
	return out
}
