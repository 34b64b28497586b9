package stack

import (
	"io/fs"
	"time"
)

// Service is one daemon in a container of its own. It is data: mounts, the
// order of a start, what to wait for, what status and graph draw and what the
// probe verifies are derived from it and from nothing else. A further service
// is one more value in Catalog.
type Service struct {
	Name  string
	About string // what runs in it, for people
	// Option names what a person can leave out, this service with it: see
	// Without. Empty: it is always there.
	Option string

	User         string   // "uid:gid" of process 1; empty: root
	Capabilities []string // added back after all were dropped
	Tmpfs        []Tmpfs
	// SpoolMessages is how many messages of the largest size the daemon must
	// be able to hold in /tmp at once; 0: it keeps none there. A message that
	// never fits would wait in the queue until it bounces.
	SpoolMessages int64
	PidsLimit     int64
	StopGrace     time.Duration

	SocketDir Owner // of the directory its sockets are in
	Provides  []Socket
	Uses      []Use
	Volumes   []Volume
	Listeners []Listener
	Bridge    bool // has a network of its own; else it has none at all
	Outbound  bool // begins connections to other hosts, over that network

	Secrets []string // names of the secrets that it may know
	TLS     bool     // gets the certificate
	Signs   bool     // gets the keys that mail is signed with
}

// Owner is the owner and mode of a directory or file.
type Owner struct {
	UID, GID int
	Mode     fs.FileMode
}

// Socket is a Unix socket that a service listens on, in its own directory
// /socket/<service>.
type Socket struct {
	Name  string // file name: "mysqld.sock"
	About string // what is spoken there: "MySQL protocol"
}

// Use is an edge of the graph: a socket of another service.
type Use struct {
	Socket string // "mysql/mysqld.sock"
	Need   Need
}

// Need says when a socket must be there.
type Need int

const (
	// ToWork means that the user copes without it; the edge orders nothing,
	// so the graph may have cycles.
	ToWork Need = iota
	// ToStart means that up starts the user only after the listener is ready.
	ToStart
)

func (n Need) String() string {
	if n == ToStart {
		return "to start"
	}
	return "to work"
}

// Volume is data that outlives containers. It is a directory on the host that
// holds a mark and the directory data, which is what is mounted.
type Volume struct {
	Name   string // "mysql"
	Target string // in the container: "/var/lib/mysql"
	Owner  Owner
	// Init says that a fresh volume gets its content from the image's
	// mailstack-init, run once in a container of its own.
	Init bool
}

// Listener is a TCP port that a service publishes.
type Listener struct {
	Key  string // of [listen] in the configuration: "imaps"
	Port uint16 // inside the container, and the standard one outside
}

// Paths and names inside every container and on every engine. Volumes and
// scripts of users depend on them.
const (
	SocketRoot  = "/socket"
	ConfigDir   = "/run/mailstack/config"
	TLSDir      = "/run/mailstack/tls"
	SigningDir  = "/run/mailstack/signing"
	SecretDir   = "/run/mailstack/secret"
	CommandDir  = "/usr/local/bin/"
	HealthCmd   = CommandDir + "mailstack-health"
	ReloadCmd   = CommandDir + "mailstack-reload"
	InitCmd     = CommandDir + "mailstack-init"
	SocketsCmd  = CommandDir + "mailstack-sockets"
	EndCmd      = CommandDir + "mailstack-end-sessions"
	GuessesCmd  = CommandDir + "mailstack-guesses"
	LimitsCmd   = CommandDir + "mailstack-limits"
	ResolverCmd = CommandDir + "mailstack-resolver"
	QueueCmd    = CommandDir + "mailstack-queue"
	UpdatesCmd  = CommandDir + "mailstack-updates"
	PackageList = "/usr/share/mailstack/packages"

	LabelStack   = "mailstack.stack"
	LabelService = "mailstack.service"
	LabelSpec    = "mailstack.spec"
	// LabelParts holds the hash of every part of the specification, so that
	// a recreation can say which part changed. LabelSpec decides.
	LabelParts = "mailstack.spec.parts"
	// LabelID is the stack's id: a stack of the same name in another
	// directory is another stack.
	LabelID = "mailstack.stack-id"
	// LabelImage marks the images that mailstack built, with their service.
	LabelImage = "mailstack.image"
)

// Users of the images, the same in each: the order of installation must not
// decide who owns the mail.
const (
	uidMySQL   = UIDMySQL
	uidVmail   = UIDVmail
	uidPostfix = 5305
	uidRspamd  = UIDRspamd
	uidValkey  = 5308
)

// Those that own what others bring: UIDVmail all mail, UIDMySQL the database's
// files; UIDRspamd reads the keys that mail is signed with. Their groups have the
// same numbers.
const (
	UIDMySQL  = 5301
	UIDVmail  = 5302
	UIDRspamd = 5307
)

// ContainerName is the container of a service.
func ContainerName(stack, service string) string { return stack + "-" + service }

// InitName is the one-shot container that fills a fresh volume.
func InitName(stack, service string) string { return stack + "-" + service + "-init" }
