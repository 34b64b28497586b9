package stack

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"math/rand/v2"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var testLayout = Layout{Dir: "/var/lib/mailstack"}

func mountOf(mounts []Mount, target string) (Mount, bool) {
	i := slices.IndexFunc(mounts, func(m Mount) bool { return m.Target == target })
	if i < 0 {
		return Mount{}, false
	}
	return mounts[i], true
}

// A socket directory is writable in its owner, read-only in those that connect,
// and nowhere else.
func TestMountsOfSockets(t *testing.T) {
	g := catalogGraph(t)
	want := map[string]map[string]string{
		"mysql":   {"mysql": "rw"},
		"dovecot": {"dovecot": "rw", "mysql": "ro", "postfix": "ro"},
		"postfix": {"postfix": "rw", "mysql": "ro", "dovecot": "ro"},
	}
	for _, s := range g.Services {
		mounts := g.Mounts(s, testLayout)
		for _, provider := range g.Services {
			m, there := mountOf(mounts, "/socket/"+provider.Name)
			got := ""
			if there {
				got = map[bool]string{true: "ro", false: "rw"}[m.ReadOnly]
				if source := "/var/lib/mailstack/socket/" + provider.Name + "/run"; m.Source != source {
					t.Errorf("%s mounts %s at %s, want %s", s.Name, m.Source, m.Target, source)
				}
			}
			if got != want[s.Name][provider.Name] {
				t.Errorf("sockets of %s in %s: %q, want %q", provider.Name, s.Name, got, want[s.Name][provider.Name])
			}
		}
	}
}

// A service sees nothing of the host but what is its own.
func TestMountsShowNothingElse(t *testing.T) {
	g := catalogGraph(t)
	for _, s := range g.Services {
		for _, m := range g.Mounts(s, testLayout) {
			rel := strings.TrimPrefix(m.Source, testLayout.Dir+"/")
			switch owner := strings.Split(rel, "/"); {
			case rel == m.Source:
				t.Errorf("%s mounts %s, outside of the data directory", s.Name, m.Source)
			case owner[0] == "run":
				if owner[1] != s.Name || !m.ReadOnly {
					t.Errorf("%s mounts %s, read-only %v", s.Name, m.Source, m.ReadOnly)
				}
			case owner[0] == "socket": // see TestMountsOfSockets
			case !slices.ContainsFunc(s.Volumes, func(v Volume) bool { return m.Source == testLayout.Content(v.Name) && m.Target == v.Target }):
				t.Errorf("%s mounts %s, which is not its own", s.Name, m.Source)
			}
		}
		_, tls := mountOf(g.Mounts(s, testLayout), TLSDir)
		if tls != s.TLS {
			t.Errorf("%s has the certificate's directory: %v, want %v", s.Name, tls, s.TLS)
		}
	}
}

func TestVolumesWithTheirOwnPaths(t *testing.T) {
	g := catalogGraph(t)
	l := Layout{Dir: "/data", Paths: map[string]string{"vmail": "/srv/mail", "socket/mysql": "/srv/mysqld"}}
	s, _ := g.Service("dovecot")
	mounts := g.Mounts(s, l)
	for target, source := range map[string]string{"/var/vmail": "/srv/mail/data", "/socket/mysql": "/srv/mysqld/run", "/socket/postfix": "/data/socket/postfix/run"} {
		if m, _ := mountOf(mounts, target); m.Source != source {
			t.Errorf("%s comes from %q, want %q", target, m.Source, source)
		}
	}
}

func TestStartOrder(t *testing.T) {
	if got := catalogGraph(t).Order; !slices.Equal(got, []string{"mysql", "dovecot", "postfix"}) {
		t.Errorf("order %v", got)
	}
	// The order follows the sockets, not the catalogue.
	services := Without(Catalog(), FilterOption)
	slices.Reverse(services)
	g := graphOf(t, services)
	if !slices.Equal(g.Order, []string{"mysql", "dovecot", "postfix"}) {
		t.Errorf("order of the reversed catalogue: %v", g.Order)
	}
}

func TestGraphRefuses(t *testing.T) {
	service := func(name string, uses ...Use) Service {
		return Service{Name: name, Provides: []Socket{{Name: "s"}}, Uses: uses}
	}
	volume := func(s Service, name string) Service { s.Volumes = []Volume{{Name: name}}; return s }
	listener := func(s Service, key string) Service { s.Listeners = []Listener{{Key: key}}; return s }
	for name, test := range map[string]struct {
		services []Service
		want     string // of the error; empty: none
	}{
		"cycle to work": {
			services: []Service{service("a", Use{"b/s", ToWork}), service("b", Use{"a/s", ToWork})},
		},
		"cycle with one edge to work": {
			services: []Service{service("a", Use{"b/s", ToWork}), service("b", Use{"a/s", ToStart})},
		},
		"own socket": {
			services: []Service{service("a", Use{"a/s", ToStart})},
		},
		"cycle to start": {
			services: []Service{service("a", Use{"b/s", ToStart}), service("b", Use{"a/s", ToStart}), service("c")},
			want:     "services a, b: each waits for another to start",
		},
		"unknown socket": {
			services: []Service{service("a", Use{"b/t", ToWork}), service("b")},
			want:     "service a: uses the socket b/t, which nobody provides",
		},
		"socket without a service": {
			services: []Service{service("a", Use{"s", ToWork})},
			want:     "service a: uses the socket s, which nobody provides",
		},
		"service twice": {
			services: []Service{service("a"), service("a")},
			want:     "service a: defined twice",
		},
		"volume twice": {
			services: []Service{volume(service("a"), "v"), volume(service("b"), "v")},
			want:     "volume v: owned by a and by b",
		},
		"listener twice": {
			services: []Service{listener(service("a"), "imap"), listener(service("b"), "imap")},
			want:     "listener imap: of a and of b",
		},
	} {
		_, err := NewGraph(test.services)
		if got := errText(err); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// The filter is one more value: it has its mounts, volumes, place in the order and
// in the drawings from it, and nothing changes for the others but the mounts of
// those that connect to it.
func TestFilterService(t *testing.T) {
	before, g := catalogGraph(t), graphOf(t, Catalog())
	if !slices.Equal(g.Order, []string{"mysql", "dovecot", "postfix", "filter", "valkey"}) {
		t.Errorf("order %v", g.Order)
	}
	checkSocketOwners(t, g)
	var volumes []string
	for _, v := range Volumes(g)[len(Volumes(before)):] {
		volumes = append(volumes, v.Name)
	}
	if !slices.Equal(volumes, []string{"socket/filter", "valkey", "socket/valkey"}) {
		t.Errorf("further volumes %v", volumes)
	}
	for _, line := range []string{"    filter[\"filter<br/>no port\"]\n", "    postfix -.->|milter| filter\n", "    dovecot -.->|learn| filter\n", "    filter -.->|valkey.sock| valkey\n"} {
		if !strings.Contains(g.Mermaid(), line) {
			t.Errorf("Mermaid lacks %q:\n%s", line, g.Mermaid())
		}
	}
	for _, s := range before.Services {
		now, _ := g.Service(s.Name)
		want := before.Mounts(s, testLayout)
		if s.Name == "postfix" || s.Name == "dovecot" {
			i := slices.IndexFunc(want, func(m Mount) bool { return m.Target == ConfigDir })
			want = slices.Insert(want, i, Mount{Source: testLayout.Content("socket/filter"), Target: "/socket/filter", ReadOnly: true})
		}
		if mounts := g.Mounts(now, testLayout); !slices.Equal(mounts, want) {
			t.Errorf("%s mounts %v, want %v", s.Name, mounts, want)
		}
	}
}

// Nothing but the catalogue knows the filter's services by name, so that one more service
// is one more value: the code that mounts, starts and waits reads all of it from that.
func TestServicesAreNamedInTheCatalogueOnly(t *testing.T) {
	name := regexp.MustCompile(`(?i)\b(filter|valkey|rspamd)\b`)
	looked, known := 0, false
	for _, dir := range []string{".", "../docker"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			looked++
			set := token.NewFileSet()
			tree, err := parser.ParseFile(set, file, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(tree, func(n ast.Node) bool {
				literal, ok := n.(*ast.BasicLit)
				if !ok || literal.Kind != token.STRING || !name.MatchString(literal.Value) {
					return true
				}
				if known = known || file == "catalog.go"; file != "catalog.go" {
					t.Errorf("%s says %s", set.Position(literal.Pos()), literal.Value)
				}
				return true
			})
		}
	}
	if looked < 20 || !known {
		t.Errorf("%d files were looked at, and the catalogue names the services: %v", looked, known)
	}
}

// A service that a person can leave out takes along what others would use of
// it, and nothing else.
func TestWithout(t *testing.T) {
	services := []Service{
		{Name: "a", Provides: []Socket{{Name: "s"}}, Uses: []Use{{"b/s", ToStart}, {"c/s", ToWork}}},
		{Name: "b", Provides: []Socket{{Name: "s"}}, Option: "extra", Uses: []Use{{"c/s", ToStart}}},
		{Name: "c", Provides: []Socket{{Name: "s"}}, Option: "more"},
	}
	for _, test := range []struct {
		off   []string
		names []string
		uses  []Use // of a
	}{
		{nil, []string{"a", "b", "c"}, []Use{{"b/s", ToStart}, {"c/s", ToWork}}},
		{[]string{"extra"}, []string{"a", "c"}, []Use{{"c/s", ToWork}}},
		{[]string{"extra", "more"}, []string{"a"}, []Use{}},
	} {
		g, err := NewGraph(Without(services, test.off...))
		if err != nil {
			t.Fatalf("without %v: %v", test.off, err)
		}
		var names []string
		for _, s := range g.Services {
			names = append(names, s.Name)
		}
		if a, _ := g.Service("a"); !slices.Equal(names, test.names) || !slices.Equal(a.Uses, test.uses) {
			t.Errorf("without %v: %v, and a uses %v", test.off, names, a.Uses)
		}
	}
	if len(services[0].Uses) != 2 {
		t.Error("the services that were given have changed")
	}
}

// checkSocketOwners checks that every socket directory is mounted writable in
// its owner, read-only in its users, and in nobody else.
func checkSocketOwners(t *testing.T, g *Graph) {
	t.Helper()
	for _, provider := range g.Services {
		for _, s := range g.Services {
			m, there := mountOf(g.Mounts(s, testLayout), path.Join(SocketRoot, provider.Name))
			uses := slices.ContainsFunc(s.Uses, func(u Use) bool { return strings.HasPrefix(u.Socket, provider.Name+"/") })
			own := s.Name == provider.Name && len(s.Provides) > 0
			switch {
			case own && (!there || m.ReadOnly):
				t.Errorf("%s cannot write in its own socket directory", s.Name)
			case !own && uses && (!there || !m.ReadOnly):
				t.Errorf("%s mounts the sockets of %s: %v, read-only %v", s.Name, provider.Name, there, m.ReadOnly)
			case !own && !uses && there:
				t.Errorf("%s mounts the sockets of %s without using them", s.Name, provider.Name)
			}
		}
	}
}

// Whatever the graph, each socket directory is writable in exactly its owner,
// and the order respects every edge that is needed to start.
func TestRandomGraphs(t *testing.T) {
	const seed = 2
	for n := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, n))
		services := make([]Service, 1+rnd.IntN(8))
		rank := rnd.Perm(len(services)) // edges to start go to lower ranks: no cycle
		for i := range services {
			services[i].Name = fmt.Sprintf("s%d", i)
			for k := range 1 + rnd.IntN(2) {
				services[i].Provides = append(services[i].Provides, Socket{Name: fmt.Sprintf("k%d", k)})
			}
		}
		for i := range services {
			for j, to := range services {
				if rnd.IntN(3) > 0 {
					continue
				}
				use := Use{Socket: to.Name + "/" + to.Provides[rnd.IntN(len(to.Provides))].Name}
				if rank[j] < rank[i] {
					use.Need = Need(rnd.IntN(2))
				}
				services[i].Uses = append(services[i].Uses, use)
			}
		}
		g, err := NewGraph(services)
		if err != nil {
			t.Fatalf("graph %d of seed %d: %v", n, seed, err)
		}
		checkSocketOwners(t, g)
		for _, e := range g.Edges() {
			if e.Need == ToStart && e.Provider != e.Consumer && slices.Index(g.Order, e.Provider) > slices.Index(g.Order, e.Consumer) {
				t.Errorf("graph %d of seed %d: %s starts before %s", n, seed, e.Consumer, e.Provider)
			}
		}
		if t.Failed() {
			t.FailNow()
		}
	}
}

func TestDrawings(t *testing.T) {
	g := catalogGraph(t)
	golden(t, "testdata/graph.mermaid", g.Mermaid())
	golden(t, "testdata/graph.dot", g.DOT())
}
