package docker

import (
	"cmp"
	"context"
	"slices"
	"strconv"

	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"mailstack/stack"
)

// Networks lists the networks of a stack, or of all stacks, by name.
func (e *Engine) Networks(ctx context.Context, stackName string) ([]stack.Network, error) {
	networks, err := e.listNetworks(ctx, stackFilter(stackName))
	if err != nil {
		return nil, e.fail("list networks", err)
	}
	return networks, nil
}

// Network finds a network by name or full ID. Of several with one name (see
// networkID) it is the first: the engine itself would only call the name
// ambiguous, for ever.
func (e *Engine) Network(ctx context.Context, name string) (stack.Network, error) {
	same, err := e.networksNamed(ctx, name)
	if err != nil {
		return stack.Network{}, e.fail("inspect network "+name, err)
	}
	if len(same) > 0 {
		return same[0], nil
	}
	result, err := e.client.NetworkInspect(ctx, name, client.NetworkInspectOptions{})
	if err != nil {
		return stack.Network{}, e.fail("inspect network "+name, err)
	}
	n := observedNetwork(result.Network.Network)
	if n.Name != name && n.ID != name { // the engine also takes the beginning of an ID
		return stack.Network{}, wrap("inspect network "+name, stack.ErrNotFound)
	}
	return n, nil
}

// masquerade is the bridge driver's option that gives packets which leave the
// host one of the host's addresses. Without it they leave with the container's,
// which nobody else has a route to, and no answer comes back. Unlike an internal
// network, which Engine 20.10 publishes no port of, clients reach it as before.
const masquerade = "com.docker.network.bridge.enable_ip_masquerade"

// CreateNetwork makes a bridge. A name in use is stack.ErrConflict.
func (e *Engine) CreateNetwork(ctx context.Context, spec stack.NetworkSpec) error {
	name := spec.Name
	doing := "create network " + name
	// Up to Engine 24 (API 1.43) a network's name need not be unique unless the
	// request says so, which this client no longer can: look before, and after,
	// for one that somebody made meanwhile.
	if same, err := e.networksNamed(ctx, name); err != nil {
		return e.fail(doing, err)
	} else if len(same) > 0 {
		return &opError{doing: doing, err: errNameInUse, kind: stack.ErrConflict}
	}
	created, err := e.client.NetworkCreate(ctx, name, client.NetworkCreateOptions{
		Driver: "bridge", Labels: spec.Labels,
		Options: map[string]string{masquerade: strconv.FormatBool(spec.Outbound)},
	})
	if err != nil {
		return e.fail(doing, err)
	}
	same, err := e.networksNamed(ctx, name)
	if err != nil {
		return e.fail(doing, err)
	}
	if len(same) > 1 {
		if _, err := e.client.NetworkRemove(ctx, created.ID, client.NetworkRemoveOptions{}); err != nil {
			return e.fail("remove network "+created.ID+", whose name "+name+" is in use", err)
		}
		return &opError{doing: doing, err: errNameInUse, kind: stack.ErrConflict}
	}
	return nil
}

// RemoveNetwork removes a network that no container uses, by name or full ID,
// and with it those of the same name that interrupted runs left.
func (e *Engine) RemoveNetwork(ctx context.Context, name string) error {
	same, err := e.networksNamed(ctx, name)
	if err != nil {
		return e.fail("remove network "+name, err)
	}
	if len(same) == 0 {
		same = []stack.Network{{ID: name}}
	}
	for _, n := range same {
		if _, err := e.client.NetworkRemove(ctx, n.ID, client.NetworkRemoveOptions{}); err != nil {
			return e.fail("remove network "+name, err)
		}
	}
	return nil
}

// networkID names a network in the only way that stays unambiguous. An engine
// carries out what it was asked also when the asking process was killed, so up
// to Engine 24 a second network of the same name may come into being at any
// time after a look, and a container that has its network by name would then
// not start. What is no network of ours ("none", "bridge") stays as it is.
func (e *Engine) networkID(ctx context.Context, name string) (string, error) {
	if name == "" || name == "none" || name == "host" || name == "bridge" || name == "default" {
		return name, nil
	}
	same, err := e.networksNamed(ctx, name)
	if err != nil || len(same) == 0 {
		return name, err // the engine says that it is not there
	}
	kept := same[0]
	for _, n := range same[1:] {
		// One that is in use cannot be removed: then that is the one.
		if _, err := e.client.NetworkRemove(ctx, n.ID, client.NetworkRemoveOptions{}); err != nil {
			kept = n
		}
	}
	return kept.ID, nil
}

// networksNamed lists the networks of exactly this name; the engine's filter
// matches parts of names.
func (e *Engine) networksNamed(ctx context.Context, name string) ([]stack.Network, error) {
	networks, err := e.listNetworks(ctx, make(client.Filters).Add("name", name))
	return slices.DeleteFunc(networks, func(n stack.Network) bool { return n.Name != name }), err
}

func (e *Engine) listNetworks(ctx context.Context, filters client.Filters) ([]stack.Network, error) {
	listed, err := e.client.NetworkList(ctx, client.NetworkListOptions{Filters: filters})
	if err != nil {
		return nil, err
	}
	var networks []stack.Network
	for _, item := range listed.Items {
		networks = append(networks, observedNetwork(item.Network))
	}
	slices.SortFunc(networks, func(a, b stack.Network) int { return cmp.Compare(a.Name, b.Name) })
	return networks, nil
}

func observedNetwork(n network.Network) stack.Network {
	return stack.Network{ID: n.ID, Name: n.Name, Driver: n.Driver, Outbound: n.Options[masquerade] != "false", Labels: n.Labels}
}
