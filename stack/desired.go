package stack

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"mailstack/images"
)

// Settings is what the configuration says of a stack, in this package's terms.
type Settings struct {
	Name     string
	Hostname string
	Layout   Layout

	Listen []netip.Addr
	Ports  map[string]uint16 // host port by listener key; 0 or absent: off

	Resolvers []netip.Addr // see ContainerSpec

	MessageBytes int64

	WrongPasswords  int              // see images.Values
	SharedAddresses []string         // see images.Values
	Memory          map[string]int64 // bytes by service; absent: the service's own
	Filter          images.Filter
	Sending         images.Sending
	IP              string  // see images.Values
	Relays          []Relay `json:"-"` // their passwords would be there

	Base   string // base image
	Mirror string // Debian mirror for the bootstrap; empty: the host's
}

// Relay is a smarthost.
type Relay struct {
	images.Relay
	Generation int64 // stands for its password in hashes
}

// Identity is what makes a stack itself: its id and its secrets. Both are read
// from disk, or made in memory and written by the plan.
type Identity struct {
	ID string
	// Initialised says that the stack's first up has completed: from then on
	// nothing is initialised without being told to.
	Initialised bool
	Secrets     map[string]Secret
	New         []string // secrets that are not on disk yet
	NewID       bool     // the id is not on disk yet
}

// Desired is the stack as it should be: a plain value.
type Desired struct {
	Settings
	Identity
	Graph      *Graph
	Images     []ImageWanted
	Volumes    []VolumeWanted
	Files      Files // by service
	Networks   []NetworkSpec
	Containers []ContainerWanted // in the order of the start
	Tasks      []Task
}

// Files are what is rendered for each service. They hold secrets, so they print
// as the services' names, with every verb and in every encoding.
type Files map[string][]images.File

func (f Files) String() string { return fmt.Sprintf("[rendered for %q]", slices.Sorted(maps.Keys(f))) }

// Format implements fmt.Formatter.
func (f Files) Format(s fmt.State, _ rune) { fmt.Fprint(s, f.String()) }

// MarshalText is String, for JSON and other encodings.
func (f Files) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// ImageWanted is an image and how to build it.
type ImageWanted struct {
	Service string
	Ref     string
	Context []byte // tar
}

// VolumeWanted is a volume of a service.
type VolumeWanted struct {
	Name    string
	Service string
	Target  string
	Owner   Owner
	Init    bool
}

// ContainerWanted is a container with the hash of each part of its
// specification.
type ContainerWanted struct {
	Service     string
	Spec        ContainerSpec
	Parts       map[string]string
	StartsAfter []string
}

// NewDesired derives the stack as it should be. It reads nothing.
func NewDesired(g *Graph, set Settings, id Identity, tasks []Task) (*Desired, error) {
	d := &Desired{
		Settings: set, Identity: id, Graph: g, Tasks: tasks,
		Volumes: Volumes(g), Files: Files{},
	}
	for _, s := range g.Services {
		tar, digest, err := images.Context(s.Name, set.Base)
		if err != nil {
			return nil, fmt.Errorf("make build context of %s: %w", s.Name, err)
		}
		d.Images = append(d.Images, ImageWanted{Service: s.Name, Ref: ImageRef(s.Name, digest), Context: tar})
		if s.Bridge {
			d.Networks = append(d.Networks, NetworkSpec{
				Name: ContainerName(set.Name, s.Name), Outbound: s.Outbound,
				Labels: map[string]string{LabelStack: set.Name, LabelID: id.ID},
			})
		}
		if d.Files[s.Name], err = d.render(s, id.reveal(s.Secrets)); err != nil {
			return nil, err
		}
	}
	for _, name := range g.Order {
		s, _ := g.Service(name)
		c, err := d.container(s)
		if err != nil {
			return nil, err
		}
		d.Containers = append(d.Containers, c)
	}
	return d, nil
}

// Volumes lists every volume of the services: their data and their sockets.
func Volumes(g *Graph) []VolumeWanted {
	var all []VolumeWanted
	for _, s := range g.Services {
		for _, v := range s.Volumes {
			all = append(all, VolumeWanted{Name: v.Name, Service: s.Name, Target: v.Target, Owner: v.Owner, Init: v.Init})
		}
		if len(s.Provides) > 0 {
			all = append(all, VolumeWanted{Name: SocketVolume(s.Name), Service: s.Name, Owner: s.SocketDir})
		}
	}
	return all
}

// ImageRef names an image by what it is made of.
func ImageRef(service, digest string) string {
	return "mailstack/" + service + ":" + digest[:min(len(digest), 20)]
}

// Image is the reference of a service's image.
func (d *Desired) Image(service string) ImageWanted {
	i := slices.IndexFunc(d.Images, func(w ImageWanted) bool { return w.Service == service })
	return d.Images[i]
}

// reveal returns the values of the named secrets, for rendering.
func (id Identity) reveal(names []string) map[string]string {
	values := map[string]string{}
	for _, n := range names {
		values[n] = id.Secrets[n].Reveal()
	}
	return values
}

// generations stands in for the values where hashes are made: a hash of a
// secret would let its value be guessed at.
func (id Identity) generations(names []string) map[string]string {
	values := map[string]string{}
	for _, n := range names {
		values[n] = "generation-" + strconv.FormatInt(id.Secrets[n].Generation, 10)
	}
	return values
}

// render makes a service's runtime files.
func (d *Desired) render(s Service, secrets map[string]string) ([]images.File, error) {
	listen := map[string]bool{}
	for key, port := range d.Ports {
		listen[key] = port != 0
	}
	sockets := map[string]bool{}
	for _, u := range s.Uses {
		sockets[u.Socket] = true
	}
	var relays []images.Relay
	for _, r := range d.Relays {
		relays = append(relays, r.Relay)
	}
	files, err := images.Render(s.Name, images.Values{
		Stack: d.Name, Hostname: d.Hostname, MessageBytes: d.MessageBytes,
		Secret: secrets, Relays: relays, Listen: listen, Sockets: sockets,
		MemoryBytes: d.memory(s), Filter: d.Filter, Sending: d.Sending, IP: d.IP,
		WrongPasswords: d.WrongPasswords, SharedAddresses: d.SharedAddresses,
	})
	if err != nil {
		return nil, fmt.Errorf("render configuration of %s: %w", s.Name, err)
	}
	slices.SortFunc(files, func(a, b images.File) int { return cmp.Compare(a.Path, b.Path) })
	return files, nil
}

// renderPublic renders with generation numbers in place of secrets.
func (d *Desired) renderPublic(s Service) ([]images.File, error) {
	public := *d
	public.Relays = slices.Clone(d.Relays)
	for i, r := range d.Relays {
		public.Relays[i].Password = "generation-" + strconv.FormatInt(r.Generation, 10)
	}
	return public.render(s, d.generations(s.Secrets))
}

func (d *Desired) container(s Service) (ContainerWanted, error) {
	spec := ContainerSpec{
		Name: ContainerName(d.Name, s.Name), Image: d.Image(s.Name).Ref,
		Hostname: s.Name, User: s.User, Network: "none",
		Mounts: d.Graph.Mounts(s, d.Layout), Tmpfs: d.tmpfs(s), Ports: d.ports(s),
		Capabilities: s.Capabilities, PidsLimit: s.PidsLimit,
		MemoryBytes: d.memory(s),
		Restart:     restartPolicy, StopGrace: s.StopGrace,
		Health: &Health{
			Command: []string{HealthCmd}, Interval: 30 * time.Second, Timeout: 10 * time.Second,
			StartPeriod: 30 * time.Second, Retries: 3,
		},
		LogBytes: 10 * mebi, LogFiles: 3,
	}
	if s.Bridge {
		spec.Network = spec.Name
		spec.Hostname = d.Hostname
		spec.Resolvers = d.Resolvers
	}
	public, err := d.renderPublic(s)
	if err != nil {
		return ContainerWanted{}, err
	}
	w := ContainerWanted{Service: s.Name, StartsAfter: s.startsAfter()}
	w.Parts = map[string]string{
		"image":             hash(spec.Image),
		"configuration":     hash(public),
		"ports":             portsText(spec.Ports),
		"mounts":            hash(spec.Mounts),
		"limits":            limitsText(spec),
		"hardening":         hash(spec.User, spec.Capabilities),
		"temporary storage": hash(spec.Tmpfs),
		"host name":         spec.Hostname,
		"network":           hash(spec.Network),
		"health check":      hash(spec.Health),
		"restart policy":    spec.Restart,
	}
	// Absent where nobody chose: what runs needs no other container for it.
	if len(spec.Resolvers) > 0 {
		w.Parts["name servers"] = resolversText(spec.Resolvers)
	}
	parts, err := json.Marshal(w.Parts)
	if err != nil {
		return ContainerWanted{}, err
	}
	spec.Labels = map[string]string{
		LabelStack: d.Name, LabelService: s.Name, LabelID: d.ID,
		LabelSpec: hash(w.Parts), LabelParts: string(parts),
	}
	w.Spec = spec
	return w, nil
}

func resolversText(resolvers []netip.Addr) string {
	var all []string
	for _, r := range resolvers {
		all = append(all, r.String())
	}
	return strings.Join(all, ", ")
}

// restartPolicy is not unless-stopped: an engine that was killed stops, when it
// is back, all containers that have gone on without it, takes that for a stop by
// hand, and starts none of them again (seen with 20.10). So a docker stop lasts
// until the engine starts next.
const restartPolicy = "always"

func limitsText(spec ContainerSpec) string {
	return fmt.Sprintf("memory %d MiB, processes %d, stop %s, logs %d MiB x %d",
		spec.MemoryBytes/mebi, spec.PidsLimit, spec.StopGrace, spec.LogBytes/mebi, spec.LogFiles)
}

// portsText lists the published ports, each once with its addresses.
func portsText(ports []Port) string {
	var order []string
	addresses := map[string][]string{}
	for _, p := range ports {
		key := fmt.Sprintf("%d->%d", p.Host, p.Container)
		if addresses[key] == nil {
			order = append(order, key)
		}
		addresses[key] = append(addresses[key], p.Address.String())
	}
	for i, key := range order {
		order[i] = key + " on " + strings.Join(addresses[key], " ")
	}
	return cmp.Or(strings.Join(order, ", "), "none")
}

// spool is the room in /tmp for messages, in bytes.
func (d *Desired) spool(s Service) int64 {
	if s.SpoolMessages == 0 {
		return 0
	}
	return 64*mebi + s.SpoolMessages*d.MessageBytes
}

// tmpfs lists what is writable and in memory.
func (d *Desired) tmpfs(s Service) []Tmpfs {
	if spool := d.spool(s); spool > 0 {
		return append([]Tmpfs{{Target: "/tmp", Options: fmt.Sprintf("size=%d,mode=1777", spool)}}, s.Tmpfs...)
	}
	return s.Tmpfs
}

// memory is the service's memory limit. What is in a tmpfs counts as memory, so
// a full spool must leave room for the daemon.
func (d *Desired) memory(s Service) int64 {
	return max(d.Memory[s.Name], d.spool(s)+256*mebi)
}

// ports publishes a service's listeners on every address.
func (d *Desired) ports(s Service) []Port {
	var ports []Port
	for _, l := range s.Listeners {
		if d.Ports[l.Key] == 0 {
			continue
		}
		for _, a := range d.Listen {
			ports = append(ports, Port{Address: a, Host: d.Ports[l.Key], Container: l.Port})
		}
	}
	return ports
}

// initContainer is the one-shot container that fills a fresh volume: hardened
// like the service, with no network and nothing of the stack but the service's
// secrets and the new directory.
func (d *Desired) initContainer(v VolumeWanted, tmp string) ContainerSpec {
	s, _ := d.Graph.Service(v.Service)
	return ContainerSpec{
		Name: InitName(d.Name, s.Name), Image: d.Image(s.Name).Ref, Hostname: s.Name, User: s.User,
		Labels:     map[string]string{LabelStack: d.Name, LabelService: s.Name, LabelID: d.ID},
		Entrypoint: []string{InitCmd}, Network: "none", Tmpfs: d.tmpfs(s),
		Mounts: []Mount{
			{Source: tmp, Target: v.Target},
			{Source: d.Layout.RunDir(s.Name, "config"), Target: ConfigDir, ReadOnly: true},
			{Source: d.Layout.RunDir(s.Name, "secret"), Target: SecretDir, ReadOnly: true},
		},
		Capabilities: s.Capabilities, PidsLimit: s.PidsLimit, MemoryBytes: d.memory(s),
		StopGrace: time.Second, LogBytes: mebi, LogFiles: 1,
	}
}

// hash is a short digest of values, for labels.
func hash(values ...any) string {
	h := sha256.New()
	enc := json.NewEncoder(h)
	for _, v := range values {
		if err := enc.Encode(v); err != nil {
			panic(fmt.Sprintf("hash %T: %v", v, err)) // only of types that JSON cannot express
		}
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}
