package source

import (
	"slices"
	"strings"

	"mailstack/migrate"
)

// Facts is what an old mail server is. Texts in it are the server's and fit to
// be shown.
type Facts struct {
	Target string // as ssh was told
	UID    int    // of who looked; 0 sees everything
	OS     string // "Debian GNU/Linux 12 (bookworm)"
	Rsync  string // version, "" where there is none

	Dovecot Dovecot
	MTA     MTA

	Programs   []string // of those that matter, which there are: mariadb-dump, …
	Processes  []string // names of what runs, sorted
	Traces     []string // files and directories that tell what was set up
	DKIM       []string // private keys of DKIM: paths
	Disks      []Disk
	Engine     string // "docker" or "podman" where there are containers
	Containers []Container
	// Boxes are the containers that look as if Dovecot runs in them. If there are
	// several, none was looked into.
	Boxes []string
	// Files is the directory of docker-mailserver's configuration, "" where there
	// is none or several; Inside: as the container sees it.
	Files  string
	Inside bool

	// SQL is how Dovecot and Postfix connect to their database.
	SQL []Connection
}

// Dovecot is the old server's.
type Dovecot struct {
	Version   string // "2.3.19.1"; "" where there is none
	Container string // that it runs in; "": none
	Error     string // of doveconf, "" if it gave none

	Mail    Location // where mail lies, with variables
	Home    string   // mail_home, with variables
	Plugins []string // mail_plugins of any protocol, sorted
	// Inbox is the namespace with the users' own mail; Others names those that are
	// theirs too, and Shared those that are not.
	Inbox          Namespace
	Others, Shared []string
	Sieve, Scripts string // the active script and the directory of all, with variables
	PassDB, UserDB []string
	DefaultScheme  string // of hashes that do not name their scheme; "" not known

	settings section
}

// Namespace is a part of the folders that users see.
type Namespace struct {
	Name      string
	Prefix    string // "INBOX."
	Separator byte   // 0: the layout's own
}

// MTA is what delivers.
type MTA struct {
	Name      string // "Postfix 3.7.11", "Exim"; "" not known
	Queue     int    // messages; -1 not known
	Delimiter string // recipient_delimiter
	Container string // that it runs in, "" for none

	MailboxBase string // virtual_mailbox_base
}

// Disk is a file system. Bytes.
type Disk struct {
	Mount      string
	Used, Free int64
}

// Container is a running one.
type Container struct {
	Name, Image string
	Labels      map[string]string
	Mounts      []Mount
}

// Mount is a directory of the host that a container sees as another.
type Mount struct{ Source, Destination string }

// Connection is a way into a database.
type Connection struct {
	From     string // the file or block it was read from
	Driver   string // "mysql", "pgsql", "sqlite"
	Host     string // "" and "localhost": by socket
	Port     string
	Socket   string
	User     string
	Database string
	Password migrate.Secret
	Scheme   string // default_pass_scheme beside it
	Query    string // user_query beside it: it names where homes are
}

func (f *Facts) exists(trace string) bool { return slices.Contains(f.Traces, trace) }

func (f *Facts) runs(names ...string) bool {
	return slices.ContainsFunc(f.Processes, func(p string) bool { return slices.Contains(names, p) })
}

// container is the one whose label has a value; nil if there is none or
// several.
func (f *Facts) container(label, value string) *Container {
	var found *Container
	for i := range f.Containers {
		if f.Containers[i].Labels[label] != value {
			continue
		}
		if found != nil {
			return nil
		}
		found = &f.Containers[i]
	}
	return found
}

func (f *Facts) named(name string) *Container {
	for i := range f.Containers {
		if f.Containers[i].Name == name {
			return &f.Containers[i]
		}
	}
	return nil
}

// Mailstack is the name of the stack whose Dovecot was found; "" where it is none
// of a mailstack.
func (f *Facts) Mailstack() string {
	if box := f.named(f.Dovecot.Container); box != nil && box.Labels[mailstackService] == "dovecot" {
		return clean(box.Labels[mailstackStack])
	}
	return ""
}

// outside is what a path that Dovecot knows is called on the host itself: the
// same, or what is mounted there into Dovecot's container. "" if it is not to
// be seen from the host.
func (f *Facts) outside(path string) string {
	if f.Dovecot.Container == "" || path == "" {
		return path
	}
	box := f.named(f.Dovecot.Container)
	if box == nil {
		return ""
	}
	var best Mount
	for _, m := range box.Mounts {
		if below(path, m.Destination) && len(m.Destination) > len(best.Destination) {
			best = m
		}
	}
	if best.Source == "" {
		return ""
	}
	return strings.TrimSuffix(best.Source, "/") + strings.TrimPrefix(path, strings.TrimSuffix(best.Destination, "/"))
}

// below says whether path is dir or in it.
func below(path, dir string) bool {
	dir = strings.TrimSuffix(dir, "/")
	return path == dir || strings.HasPrefix(path, dir+"/")
}
