package oldhost

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Where docker-mailserver's volumes are on the host that runs it.
const (
	dmsConfig = "/opt/docker-mailserver/docker-data/dms/config"
	dmsMail   = "/opt/docker-mailserver/docker-data/dms/mail-data"
)

// Start starts a host and returns when its services answer and its mail is
// indexed: in a few seconds of two processors, once the image is there. The test
// fails if that cannot be.
func Start(t T, opts Options) *Host {
	t.Helper()
	opts = opts.withDefaults()
	h := &Host{
		Options: opts, Hostname: hostname, CAFile: filepath.Join(opts.Dir, "ca.pem"),
		MailRoot: "/var/vmail", MailDir: filepath.Join(opts.Dir, "mail"),
		Database: "mailserver", DataDir: "/var/lib/mysql",
		Domains: domains(), Accounts: accounts(opts), Aliases: aliases(opts.Kind),
		Freeze: "service postfix stop && service dovecot stop",
		// What they start would hold on to an ssh session's output.
		Thaw: "(service dovecot start && service postfix start) >/dev/null 2>&1 </dev/null",
	}
	services := "mariadb dovecot postfix"
	switch opts.Kind {
	case PostfixAdmin:
		h.Database = "postfixadmin"
		h.Domains = append(h.Domains, aliasDomain)
	case ISPmail:
	case DockerMailserver:
		h.Database, h.DataDir, h.ConfigDir, h.MailRoot = "", "", dmsConfig, dmsMail
		services = "dovecot postfix"
	default:
		t.Fatalf("no old host is of kind %q", opts.Kind)
	}
	makeDir(t, opts.Dir)
	h.fill(t)

	files := filepath.Join(opts.Dir, "setup")
	root := filepath.Join(files, "root")
	setup{
		Kind: opts.Kind, Hostname: hostname, Layout: opts.Layout, Location: location(opts.Kind, opts.Layout),
		Domains: domains(), Accounts: h.Accounts, Aliases: h.Aliases,
	}.render(t, files)
	certificate(t, root, h.CAFile)
	h.SSH = sshKeys(t, opts.Dir, root, h.user())

	c := container{opts.Name, h.runArguments(files, services, image(t))}
	c.run(t)
	h.logsOnFailure(t)
	at := c.published(t)
	h.SSH.listening(t, at[22])
	h.SMTP, h.IMAP, h.IMAPS, h.POP3, h.POP3S = at[25], at[143], at[993], at[110], at[995]

	h.index(t)
	h.stop(t)
	return h
}

func (opts Options) withDefaults() Options {
	by := hex.EncodeToString(random(4))
	opts.Name = cmp.Or(opts.Name, "oldhost-"+by)
	opts.Dir = cmp.Or(opts.Dir, "/tmp/oldhost-"+by)
	opts.Layout.Format = cmp.Or(opts.Layout.Format, "maildir")
	if opts.Layout.Format != "maildir" {
		opts.Layout.Subdir = opts.Layout.Format
	}
	if opts.Kind == ISPmail {
		opts.Layout.Subdir = cmp.Or(opts.Layout.Subdir, "Maildir")
	}
	return opts
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}

// makeDir makes the host's directory, which ends with the test.
func makeDir(t T, dir string) {
	t.Helper()
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
}

func (h *Host) user() string {
	if h.Sudo {
		return "admin"
	}
	return "root"
}

// runArguments of docker: the mail is on this machine, all else in the
// container.
func (h *Host) runArguments(files, services, image string) []string {
	inside := "/var/vmail"
	if h.Kind == DockerMailserver {
		inside = "/var/mail"
	}
	args := []string{
		"--hostname", hostname, "--env", "OLDHOST_SERVICES=" + services,
		"--volume", files + ":/oldhost:ro", "--volume", h.MailDir + ":" + inside,
	}
	if h.MailRoot != inside {
		args = append(args, "--volume", h.MailDir+":"+h.MailRoot)
	}
	if h.Layout.Apart {
		args = append(args, "--volume", h.control()+":"+controlRoot, "--tmpfs", indexRoot+":mode=1777")
	}
	for _, port := range []int{22, 25, 110, 143, 993, 995} {
		args = append(args, "--publish", fmt.Sprintf("127.0.0.1::%d", port))
	}
	return append(args, image)
}

// control is where control files are on this machine, if apart.
func (h *Host) control() string { return filepath.Join(h.Dir, "control") }

// fill writes everybody's mail.
func (h *Host) fill(t T) {
	t.Helper()
	for _, dir := range []string{h.MailDir, h.control()} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(dir, vmail, vmail); err != nil {
			t.Fatal(err)
		}
	}
	for i := range h.Accounts {
		a := &h.Accounts[i]
		if a.role == unused || h.Layout.Format != "maildir" {
			continue
		}
		root := h.Local(a.Maildir)
		control := root
		if h.Layout.Apart {
			local, domain, _ := strings.Cut(a.Address, "@")
			control = filepath.Join(h.control(), domain, local)
		}
		m := newMaildir(t, root, control, h.Options, a.Address)
		a.Folders = m.fill(a.role, h.Spool)
		if a.Sieve != "" {
			m.sieve(h.Local(a.Home), h.Visible("Archive/2020"))
		}
		if a.Hostile {
			m.hostile(h.Local(a.Home))
		}
	}
}

// Local is where this machine has a path of the mail that the host knows.
func (h *Host) Local(path string) string {
	for _, root := range []string{h.MailRoot, "/var/mail"} {
		if rest, ok := strings.CutPrefix(path, root+"/"); ok {
			return filepath.Join(h.MailDir, rest)
		}
	}
	panic("not a path of mail: " + path)
}

// stop ends what Options.Stopped and Killed say.
func (h *Host) stop(t T) {
	t.Helper()
	if h.Stopped || h.Killed {
		h.Stop(t, h.Killed)
	}
}

// Stop ends all but sshd, the database in order or by SIGKILL.
func (h *Host) Stop(t T, kill bool) {
	t.Helper()
	h.Exec(t, "sh", "-c", h.Freeze)
	switch {
	case h.Database == "":
	case kill:
		h.Exec(t, "sh", "-c", "pkill -KILL mysqld_safe; pkill -KILL mariadbd")
	default:
		h.Exec(t, "service", "mariadb", "stop")
	}
}

func (h *Host) logsOnFailure(t T) {
	t.Helper()
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		// The test's context is over.
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		out, err := h.TryExec(ctx, "sh", "-c", "tail -n 40 /var/log/dovecot.log /var/log/mail.log")
		t.Logf("logs of %s: %v\n%s", h.Name, err, out)
	})
}
