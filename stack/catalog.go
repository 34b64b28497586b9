package stack

import (
	"io/fs"
	"time"
)

const mebi = 1 << 20

// Catalog returns the services of the product, in the order in which people
// are shown them. Nothing else lists services.
func Catalog() []Service {
	return []Service{mysql(), dovecot(), postfix(), filter(), valkey()}
}

func mysql() Service {
	return Service{
		Name: "mysql", About: "MariaDB: domains, accounts, aliases",
		User:      "5301:5301",
		Tmpfs:     []Tmpfs{{Target: "/tmp", Options: "size=64m,mode=1777"}, {Target: "/run", Options: "size=1m,mode=755"}},
		PidsLimit: 200, StopGrace: 30 * time.Second,
		SocketDir: Owner{UID: uidMySQL, GID: uidMySQL, Mode: 0o711},
		Provides:  []Socket{{Name: "mysqld.sock", About: "MySQL protocol"}},
		Volumes: []Volume{{
			Name: "mysql", Target: "/var/lib/mysql", Init: true,
			Owner: Owner{UID: uidMySQL, GID: uidMySQL, Mode: 0o700},
		}},
		Secrets: []string{"admin"},
	}
}

func dovecot() Service {
	return Service{
		Name: "dovecot", About: "Dovecot: IMAP, POP3, ManageSieve, LMTP, SASL",
		// Without DAC_OVERRIDE its root cannot even write where it is not
		// the owner. KILL: sessions run as vmail, and ending one is a signal.
		Capabilities: []string{"CHOWN", "KILL", "SETGID", "SETUID"},
		Tmpfs:        []Tmpfs{{Target: "/run", Options: "size=16m,mode=755"}},
		// LMTP keeps a large message in /tmp while it delivers it.
		SpoolMessages: 4,
		PidsLimit:     1024, StopGrace: 20 * time.Second,
		SocketDir: Owner{Mode: 0o711},
		Provides: []Socket{
			{Name: "auth", About: "SASL"},
			{Name: "lmtp", About: "LMTP"},
			{Name: "quota-status", About: "policy"},
		},
		Uses: []Use{
			{Socket: "mysql/mysqld.sock", Need: ToStart},
			{Socket: "postfix/submit", Need: ToWork},
			{Socket: "filter/learn", Need: ToWork},
		},
		Volumes: []Volume{{
			Name: "vmail", Target: "/var/vmail",
			Owner: Owner{UID: uidVmail, GID: uidVmail, Mode: 0o700},
		}},
		Listeners: []Listener{
			{Key: "pop3", Port: 110},
			{Key: "imap", Port: 143},
			{Key: "imaps", Port: 993},
			{Key: "pop3s", Port: 995},
			{Key: "managesieve", Port: 4190},
		},
		Bridge: true, TLS: true,
		Secrets: []string{"dovecot"},
	}
}

func postfix() Service {
	return Service{
		Name: "postfix", About: "Postfix: SMTP, submission, queue",
		Capabilities: []string{"CHOWN", "DAC_OVERRIDE", "SETGID", "SETUID"},
		Tmpfs: []Tmpfs{
			{Target: "/tmp", Options: "size=16m,mode=1777"},
			{Target: "/run", Options: "size=16m,mode=755"},
		},
		PidsLimit: 512, StopGrace: 20 * time.Second,
		SocketDir: Owner{UID: uidPostfix, GID: uidPostfix, Mode: 0o711},
		Provides:  []Socket{{Name: "submit", About: "SMTP from Sieve"}},
		Uses: []Use{
			{Socket: "mysql/mysqld.sock", Need: ToStart},
			{Socket: "dovecot/auth", Need: ToStart},
			{Socket: "dovecot/lmtp", Need: ToStart},
			{Socket: "dovecot/quota-status", Need: ToStart},
			{Socket: "filter/milter", Need: ToWork},
		},
		Volumes: []Volume{{
			Name: "queue", Target: "/var/spool/postfix", Init: true,
			Owner: Owner{Mode: 0o755},
		}},
		Listeners: []Listener{
			{Key: "smtp", Port: 25},
			{Key: "submissions", Port: 465},
			{Key: "submission", Port: 587},
		},
		Bridge: true, Outbound: true, TLS: true,
		Secrets: []string{"postfix", "srs", "srs-previous"},
	}
}

// FilterOption is the Option of the services that look at the content of mail, named
// as their table in the configuration.
const FilterOption = "filter"

func filter() Service {
	return Service{
		Name: "filter", About: "Rspamd: what a message is worth", Option: FilterOption,
		User: "5307:5307",
		// Compiled patterns are kept in /run: all of them, where the processor is
		// another than the image was made on.
		Tmpfs: []Tmpfs{
			{Target: "/tmp", Options: "size=64m,mode=1777"},
			{Target: "/run", Options: "size=96m,mode=700,uid=5307,gid=5307"},
		},
		// Once it has had a session it takes 10 s to end, whatever is under way, which
		// takes 3 s (task_timeout). It keeps nothing that would be lost.
		PidsLimit: 64, StopGrace: 5 * time.Second,
		// Its sockets get the group of the directory, without a right to change it:
		// the milter is for Postfix alone, learn for everybody else.
		SocketDir: Owner{UID: uidRspamd, GID: uidPostfix, Mode: 0o711 | fs.ModeSetgid},
		Provides: []Socket{
			{Name: "milter", About: "milter"},
			{Name: "learn", About: "messages to learn"},
		},
		Uses: []Use{{Socket: "valkey/valkey.sock", Need: ToWork}},
		// It asks name servers: over its own network, whose packets they could not
		// answer without an address of the host's.
		Bridge: true, Outbound: true, Signs: true,
		Secrets: []string{"valkey"},
	}
}

func valkey() Service {
	return Service{
		Name: "valkey", About: "Valkey: what the filter remembers", Option: FilterOption,
		User:      "5308:5308",
		PidsLimit: 32, StopGrace: 10 * time.Second,
		SocketDir: Owner{UID: uidValkey, GID: uidValkey, Mode: 0o711},
		Provides:  []Socket{{Name: "valkey.sock", About: "Redis protocol"}},
		Volumes: []Volume{{
			Name: "valkey", Target: "/var/lib/valkey",
			Owner: Owner{UID: uidValkey, GID: uidValkey, Mode: 0o700},
		}},
		Secrets: []string{"valkey"},
	}
}
