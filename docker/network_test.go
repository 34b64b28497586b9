package docker_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/client"

	"mailstack/docker"
	"mailstack/stack"
)

// newNetwork makes a network that is removed when the test ends.
func newNetwork(t *testing.T, engine *docker.Engine) string {
	t.Helper()
	name := prefix + randomName()
	if err := engine.CreateNetwork(t.Context(), stack.NetworkSpec{Name: name, Labels: map[string]string{stack.LabelStack: name}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := engine.RemoveNetwork(ctx, name); err != nil {
			t.Error(err)
		}
	})
	return name
}

func TestNetworks(t *testing.T) {
	engine := connect(t)
	name := newNetwork(t, engine)
	want := stack.Network{Name: name, Driver: "bridge", Labels: map[string]string{stack.LabelStack: name}}

	got, err := engine.Network(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	want.ID = got.ID
	if diff := cmp.Diff(want, got); diff != "" || got.ID == "" {
		t.Error(diff)
	}
	listed, err := engine.Networks(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]stack.Network{want}, listed); diff != "" {
		t.Error(diff)
	}
	if err := engine.CreateNetwork(t.Context(), stack.NetworkSpec{Name: name}); !errors.Is(err, stack.ErrConflict) {
		t.Errorf("second network of the same name: %v", err)
	}
	if err := engine.CreateNetwork(t.Context(), stack.NetworkSpec{Name: name[:len(name)-1], Outbound: true}); err != nil {
		t.Errorf("network whose name is part of another's: %v", err)
	} else if other, err := engine.Network(t.Context(), name[:len(name)-1]); err != nil || !other.Outbound {
		t.Errorf("a network made for outbound connections is %+v (%v)", other, err)
	} else if err := engine.RemoveNetwork(t.Context(), name[:len(name)-1]); err != nil {
		t.Error(err)
	}
}

// Engines up to 24 let two requests make two networks of one name, as an
// interrupted run and the next one can.
func TestTwoNetworksOfOneName(t *testing.T) {
	engine := connect(t)
	name := newNetwork(t, engine)
	first, err := engine.Network(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	// Newer engines refuse the second, and then there is nothing to tell apart.
	docker, err := client.New(client.FromEnv)
	if err != nil {
		t.Fatal(err)
	}
	defer docker.Close()
	created, err := docker.NetworkCreate(t.Context(), name, client.NetworkCreateOptions{Driver: "bridge", Labels: first.Labels})
	if errdefs.IsConflict(err) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	found, err := engine.Network(t.Context(), name)
	if err != nil || found.ID != first.ID && found.ID != created.ID {
		t.Errorf("one of two: %+v, %v", found, err)
	}
	if err := engine.CreateNetwork(t.Context(), stack.NetworkSpec{Name: name}); !errors.Is(err, stack.ErrConflict) {
		t.Errorf("a third: %v", err)
	}
}
