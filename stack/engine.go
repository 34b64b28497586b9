package stack

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"time"
)

// Engine is what the observer and the executor need of a container engine, in
// this package's own words. Package docker implements it; tests use a fake.
//
// Every method that names an object that does not exist returns an error that
// matches ErrNotFound. All methods honour ctx.
type Engine interface {
	// Info describes the engine. It is the first call of a run: its error says
	// in one line why the engine cannot be reached and what to do.
	Info(ctx context.Context) (EngineInfo, error)

	Image(ctx context.Context, ref string) (Image, error)
	// Images lists the images that carry a label, whatever its value.
	Images(ctx context.Context, label string) ([]Image, error)
	TagImage(ctx context.Context, ref, newRef string) error
	RemoveImage(ctx context.Context, ref string) error
	PullImage(ctx context.Context, ref string, progress func(line string)) error
	// ImportImage makes an image from the tar of a root file system.
	ImportImage(ctx context.Context, ref string, rootfs io.Reader) error
	// BuildImage builds with the classic builder. Its error carries the last
	// lines of the build's output.
	BuildImage(ctx context.Context, spec BuildSpec, progress func(line string)) error

	// Containers lists the containers, running or not, that carry
	// LabelStack=stackName; an empty name lists those of all stacks.
	Containers(ctx context.Context, stackName string) ([]Container, error)
	// Container finds a container by name, whoever made it.
	Container(ctx context.Context, name string) (Container, error)
	CreateContainer(ctx context.Context, spec ContainerSpec) error
	StartContainer(ctx context.Context, name string) error
	// StopContainer stops with the container's own signal and grace period.
	StopContainer(ctx context.Context, name string) error
	RestartContainer(ctx context.Context, name string) error
	// RemoveContainer kills the container if it runs, and removes it.
	RemoveContainer(ctx context.Context, name string) error
	// WaitContainer waits until the container has stopped.
	WaitContainer(ctx context.Context, name string) (exitCode int, err error)

	// Exec runs a command in a running container, as argument array. A command
	// that ran and failed is not an error: see ExecResult.ExitCode.
	Exec(ctx context.Context, name string, spec ExecSpec) (ExecResult, error)
	Logs(ctx context.Context, name string, spec LogSpec, stdout, stderr io.Writer) error

	Networks(ctx context.Context, stackName string) ([]Network, error)
	Network(ctx context.Context, name string) (Network, error)
	CreateNetwork(ctx context.Context, spec NetworkSpec) error
	RemoveNetwork(ctx context.Context, name string) error

	Close() error
}

// Errors of an Engine, matched with errors.Is.
var (
	ErrNotFound = errors.New("not found")
	ErrConflict = errors.New("conflict")
)

// EngineInfo is what preflight looks at.
type EngineInfo struct {
	Version    string // of the engine, "20.10.24"
	APIVersion string // negotiated, "1.41"
	Host       string // how it was reached, "unix:///var/run/docker.sock"
	Local      bool   // reached over a Unix socket of this host
	Rootless   bool
	UserNS     bool // userns-remap
	Snap       bool // the engine's root directory is a snap's
	OSType     string
	RootDir    string // /var/lib/docker
	// What the kernel gives the engine. Where one is missing, the engine drops
	// the limit it stands for with a mere warning.
	MemoryLimit, PidsLimit, Seccomp bool
}

// Image is an image that the engine has.
type Image struct {
	ID      string // sha256:…
	Tags    []string
	Labels  map[string]string
	Created time.Time
	Bytes   int64
}

// BuildSpec asks for an image.
type BuildSpec struct {
	Ref     string    // name:tag
	Context io.Reader // tar
	Args    map[string]string
	Labels  map[string]string
	NoCache bool
}

// ContainerSpec is a container as it should be. Hardening that never varies
// (all capabilities dropped, no-new-privileges, read-only root file system,
// bind propagation, json-file log rotation) is the engine adapter's to apply.
type ContainerSpec struct {
	Name         string
	Image        string // name:tag
	Labels       map[string]string
	Hostname     string
	User         string       // "uid:gid"; empty: root
	Entrypoint   []string     // empty: the image's
	Command      []string     // empty: the image's
	Network      string       // name of a network, or "none"
	Resolvers    []netip.Addr // name servers; empty: the engine's choice
	Ports        []Port
	Mounts       []Mount
	Tmpfs        []Tmpfs
	Capabilities []string // added back after dropping all: "CHOWN"
	PidsLimit    int64
	MemoryBytes  int64
	Restart      string // the engine's policy; empty: never
	StopGrace    time.Duration
	Health       *Health
	LogBytes     int64 // size of one log file before it is rotated
	LogFiles     int
}

// Mount is a bind mount of a directory; its source must exist.
type Mount struct {
	Source   string // on the host
	Target   string // in the container
	ReadOnly bool
}

// Tmpfs is a writable directory in memory.
type Tmpfs struct {
	Target  string
	Options string // "size=16m,mode=1777"; noexec,nosuid,nodev are always added
}

// Port is a TCP port published on the host.
type Port struct {
	Address   netip.Addr
	Host      uint16
	Container uint16
}

// Health is a health check that the engine runs.
type Health struct {
	Command     []string
	Interval    time.Duration
	Timeout     time.Duration
	StartPeriod time.Duration
	Retries     int
}

// Container is a container as it is.
type Container struct {
	ID           string
	PID          int // of its first process, as the engine counts; 0: it does not run
	Name         string
	Image        string // as it was asked for, name:tag
	ImageID      string
	Labels       map[string]string
	State        string // created, running, paused, restarting, exited, dead
	ExitCode     int
	Error        string // why the engine could not start it
	OOMKilled    bool
	HealthStatus string // "", starting, healthy, unhealthy
	HealthOutput string // of the last check
	StartedAt    time.Time
	RestartCount int
	Mounts       []Mount
	Ports        []Port
	Networks     map[string]NetworkEnd
}

// NetworkEnd is a container's place in a network.
type NetworkEnd struct {
	Address netip.Addr
	Gateway netip.Addr
}

// NetworkSpec is a bridge as it should be.
type NetworkSpec struct {
	Name string
	// Outbound: what its containers send to other hosts gets an address of the
	// host's, so that answers find back. Without it they can only answer.
	Outbound bool
	Labels   map[string]string
}

// Network is a network as it is.
type Network struct {
	ID       string
	Name     string
	Driver   string
	Outbound bool // see NetworkSpec
	Labels   map[string]string
}

// ExecSpec is a command to run in a container.
type ExecSpec struct {
	Command []string
	User    string // empty: the container's
	Stdin   io.Reader
	// Stdout, where set, is written what ExecResult.Stdout would hold, without a
	// bound. Its error ends the call, but not the command.
	Stdout io.Writer
}

// ExecResult is how a command in a container ended. Output is bounded to 1 MiB
// each.
type ExecResult struct {
	ExitCode int
	Stdout   []byte
	Stderr   []byte
}

// LogSpec selects log lines.
type LogSpec struct {
	Follow bool
	Tail   int       // last lines; 0: all
	Since  time.Time // zero: all
}
