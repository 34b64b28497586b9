package stack

import "time"

const mebi = 1 << 20

// Catalog returns the services of the product, in the order in which people
// are shown them. Nothing else lists services.
func Catalog() []Service {
	return []Service{mysql(), dovecot(), postfix()}
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
		Bridge: true, TLS: true,
		Secrets: []string{"postfix"},
	}
}
