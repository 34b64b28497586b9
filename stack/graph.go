package stack

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Graph is the validated graph of services and sockets.
type Graph struct {
	Services []Service // in catalogue order
	Order    []string  // of the start: a service after those it needs to start
}

// Edge is one use of a socket, as graph, status and the probe show it.
type Edge struct {
	Provider string
	Socket   string // file name
	Consumer string
	Need     Need
}

// Path is where the socket is inside its consumer's container.
func (e Edge) Path() string { return path.Join(SocketRoot, e.Provider, e.Socket) }

// Without leaves out the services of the options that are off, and what the
// others would have used of them: their images are told which sockets there are.
func Without(services []Service, off ...string) []Service {
	gone := func(s Service) bool { return s.Option != "" && slices.Contains(off, s.Option) }
	var left []Service
	for _, s := range services {
		if gone(s) {
			continue
		}
		s.Uses = slices.DeleteFunc(slices.Clone(s.Uses), func(u Use) bool {
			return slices.ContainsFunc(services, func(provider Service) bool {
				return gone(provider) && strings.HasPrefix(u.Socket, provider.Name+"/")
			})
		})
		left = append(left, s)
	}
	return left
}

// NewGraph checks the services against each other and orders them.
func NewGraph(services []Service) (*Graph, error) {
	g := &Graph{Services: services}
	sockets, volumes, listeners := map[string]bool{}, map[string]string{}, map[string]string{}
	seen := map[string]bool{}
	for _, s := range services {
		if seen[s.Name] {
			return nil, fmt.Errorf("service %s: defined twice", s.Name)
		}
		seen[s.Name] = true
		for _, p := range s.Provides {
			sockets[s.Name+"/"+p.Name] = true
		}
		for _, v := range s.Volumes {
			if other, taken := volumes[v.Name]; taken {
				return nil, fmt.Errorf("volume %s: owned by %s and by %s", v.Name, other, s.Name)
			}
			volumes[v.Name] = s.Name
		}
		for _, l := range s.Listeners {
			if other, taken := listeners[l.Key]; taken {
				return nil, fmt.Errorf("listener %s: of %s and of %s", l.Key, other, s.Name)
			}
			listeners[l.Key] = s.Name
		}
	}
	for _, s := range services {
		for _, u := range s.Uses {
			if !sockets[u.Socket] {
				return nil, fmt.Errorf("service %s: uses the socket %s, which nobody provides", s.Name, u.Socket)
			}
		}
	}
	order, err := startOrder(services)
	g.Order = order
	return g, err
}

// startOrder sorts topologically over the edges that are needed to start,
// keeping the given order where the graph leaves a choice.
func startOrder(services []Service) ([]string, error) {
	var order []string
	placed := map[string]bool{}
	for len(order) < len(services) {
		progress := false
		for _, s := range services {
			if placed[s.Name] || !allPlaced(s, placed) {
				continue
			}
			placed[s.Name], progress = true, true
			order = append(order, s.Name)
		}
		if !progress {
			var stuck []string
			for _, s := range services {
				if !placed[s.Name] {
					stuck = append(stuck, s.Name)
				}
			}
			return nil, fmt.Errorf("services %s: each waits for another to start", strings.Join(stuck, ", "))
		}
	}
	return order, nil
}

func allPlaced(s Service, placed map[string]bool) bool {
	for _, name := range s.startsAfter() {
		if !placed[name] {
			return false
		}
	}
	return true
}

// startsAfter names the services that must be ready before this one starts.
func (s Service) startsAfter() []string {
	var names []string
	for _, u := range s.Uses {
		provider, _, _ := strings.Cut(u.Socket, "/")
		if u.Need == ToStart && provider != s.Name && !slices.Contains(names, provider) {
			names = append(names, provider)
		}
	}
	return names
}

// providers names the other services whose socket directories it sees.
func (s Service) providers() []string {
	var names []string
	for _, u := range s.Uses {
		provider, _, _ := strings.Cut(u.Socket, "/")
		if provider != s.Name && !slices.Contains(names, provider) {
			names = append(names, provider)
		}
	}
	return names
}

// Service finds a service by name.
func (g *Graph) Service(name string) (Service, bool) {
	for _, s := range g.Services {
		if s.Name == name {
			return s, true
		}
	}
	return Service{}, false
}

// Edges lists all uses in catalogue order.
func (g *Graph) Edges() []Edge {
	var edges []Edge
	for _, s := range g.Services {
		for _, u := range s.Uses {
			provider, socket, _ := strings.Cut(u.Socket, "/")
			edges = append(edges, Edge{Provider: provider, Socket: socket, Consumer: s.Name, Need: u.Need})
		}
	}
	return edges
}

// Mounts derives what a service sees of the host: its own volumes, sockets
// and rendered files, and the socket directories of those it connects to. Only
// what it owns is writable. Directories are mounted, never files: a file
// renamed into place is invisible through a mounted file.
func (g *Graph) Mounts(s Service, l Layout) []Mount {
	var mounts []Mount
	for _, v := range s.Volumes {
		mounts = append(mounts, Mount{Source: l.Content(v.Name), Target: v.Target})
	}
	if len(s.Provides) > 0 {
		mounts = append(mounts, Mount{Source: l.Content(SocketVolume(s.Name)), Target: path.Join(SocketRoot, s.Name)})
	}
	for _, provider := range s.providers() {
		mounts = append(mounts, Mount{
			Source: l.Content(SocketVolume(provider)), Target: path.Join(SocketRoot, provider), ReadOnly: true,
		})
	}
	mounts = append(mounts,
		Mount{Source: l.RunDir(s.Name, "config"), Target: ConfigDir, ReadOnly: true},
		Mount{Source: l.RunDir(s.Name, "secret"), Target: SecretDir, ReadOnly: true})
	if s.TLS {
		mounts = append(mounts, Mount{Source: l.RunDir(s.Name, "tls"), Target: TLSDir, ReadOnly: true})
	}
	if s.Signs {
		mounts = append(mounts, Mount{Source: l.RunDir(s.Name, "signing"), Target: SigningDir, ReadOnly: true})
	}
	return mounts
}

// mountsChanged says what somebody who made a container by hand, labels and
// all, changed about its mounts: a socket directory that is writable is what
// nobody may have.
func mountsChanged(want, have []Mount) string {
	for _, w := range want {
		i := slices.IndexFunc(have, func(m Mount) bool { return m.Target == w.Target })
		switch {
		case i >= 0 && have[i].ReadOnly && !w.ReadOnly:
			return w.Target + " is read-only in it"
		case i >= 0 && !have[i].ReadOnly && w.ReadOnly:
			return w.Target + " is writable in it"
		}
	}
	return ""
}
