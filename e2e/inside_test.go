package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	dockerengine "mailstack/docker"
	"mailstack/stack"
)

// What this host sees of a container is what a command in there sees: sockets
// that are there and that are not, in directories of every kind, with the rights of
// root and of a service's own user; and Postfix's queue. A container that does not
// run is not looked into.
func TestLooksFromOutside(t *testing.T) {
	t.Parallel()
	s := newStack(t, "")
	s.up(t, "--no-probe")
	engine, err := dockerengine.Connect(t.Context(), dockerengine.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	consumers := map[string][]string{}
	for _, edge := range s.edges(t) {
		consumers[edge[0]] = append(consumers[edge[0]], "/socket/"+edge[1])
	}
	for consumer, paths := range consumers {
		paths = append(paths, "/socket/nobody/x", "/socket/mysql/x", "/socket/"+consumer+"/x", "/tmp/x", "/x", "/etc/passwd",
			"/root/x", "/root/y/x", "/run/mailstack/secret/x")
		got, err := s.inside(t, engine, consumer).Sockets(paths)
		if diff := cmp.Diff(s.seenInside(t, engine, consumer, paths), got); err != nil || diff != "" {
			t.Errorf("from %s: %v\n%s", consumer, err, diff)
		}
	}

	postfix := s.inside(t, engine, "postfix")
	if all, err := postfix.Queue(t.Context()); err != nil || len(all) > 0 {
		t.Errorf("of an empty queue: %v, %v", all, err)
	}
	one, _ := s.account(t)
	other, _ := s.account(t)
	for _, state := range []string{"pause", "kill"} {
		docker(t, state, s.container("dovecot"))
		if c, err := engine.Container(t.Context(), s.container("dovecot")); err != nil {
			t.Error(err)
		} else if _, err := stack.LookInto(c); err == nil {
			t.Errorf("after %s it is looked into", state)
		}
		if state == "pause" {
			docker(t, "unpause", s.container("dovecot"))
		}
	}
	for _, from := range []string{one, "<>"} {
		if out, code := s.exec(t, "postfix", "sh", "-c", `printf 'Subject: x\n\nx\n' | sendmail -f "$@"`, "sh", from, one, other); code != 0 {
			t.Fatal(out)
		}
	}
	waitUntil(t, bounded, "two messages that wait, and for what", func() (bool, string) {
		want, err := stack.Queue(t.Context(), engine, s.container("postfix"))
		if err != nil {
			t.Fatal(err)
		}
		got, err := postfix.Queue(t.Context())
		diff := cmp.Diff(want, got)
		waits := len(want) == 2
		for _, m := range want {
			waits = waits && m.Queue == "deferred" && len(m.Recipients) == 2 && m.Recipients[1].Delay != ""
		}
		return waits && err == nil && diff == "", fmt.Sprint(want, err, diff)
	})
}

// inside looks into a service's container.
func (s *Stack) inside(t *testing.T, engine stack.Engine, service string) *stack.Inside {
	t.Helper()
	c, err := engine.Container(t.Context(), s.container(service))
	if err != nil {
		t.Fatal(err)
	}
	i, err := stack.LookInto(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { i.Close() })
	return i
}

// seenInside is what the command says that looks from a container.
func (s *Stack) seenInside(t *testing.T, engine stack.Engine, service string, paths []string) (all []stack.SocketView) {
	t.Helper()
	r, err := engine.Exec(t.Context(), s.container(service), stack.ExecSpec{Command: append([]string{stack.SocketsCmd}, paths...)})
	if err != nil || r.ExitCode != 0 {
		t.Fatalf("%s in %s: %v, %s", stack.SocketsCmd, service, err, r.Stderr)
	}
	for d := json.NewDecoder(bytes.NewReader(r.Stdout)); d.More(); {
		var v stack.SocketView
		if err := d.Decode(&v); err != nil {
			t.Fatal(err)
		}
		all = append(all, v)
	}
	return all
}
