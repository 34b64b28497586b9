package source

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// programs writes shell scripts into a directory of their own.
func programs(t *testing.T, scripts map[string]string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, script := range scripts {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestInspect(t *testing.T) {
	cf := filepath.Join(t.TempDir(), "map.cf")
	if err := os.WriteFile(cf, []byte("hosts = 127.0.0.1\nuser = postfix\npassword = s3cret\ndbname = mailserver\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	host := newHost(t, map[string]string{
		"rsync":    "echo 'rsync  version 3.2.7  protocol version 31'; echo more",
		"dovecot":  "echo '2.3.19.1 (9b53102964)'",
		"doveconf": show(t, "testdata/doveconf/ispmail-bookworm.conf"),
		"postconf": `case $* in
"-h mail_version" | mail_version) echo 3.7.11 ;;
-n) printf 'mydestination = \nrecipient_delimiter = -\nvirtual_mailbox_base = /var/vmail\nvirtual_alias_maps = proxy:mysql:` + cf + `, hash:/etc/x\n' ;;
esac`,
		"postqueue": "echo 'ID  Size'; echo '-- 12 Kbytes in 3 Requests.'",
	})
	f, err := Inspect(t.Context(), host, Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := MTA{Name: "Postfix 3.7.11", Queue: 3, Delimiter: "-", MailboxBase: "/var/vmail"}
	if f.MTA != want || f.Rsync != "3.2.7" || f.UID != os.Getuid() || f.OS == "" || len(f.Disks) == 0 || len(f.Processes) == 0 || f.Target != "old.example.org" {
		t.Errorf("facts: %+v", f)
	}
	if f.Dovecot.Version != "2.3.19.1" || f.Dovecot.Mail.Path != "~/Maildir" || f.Dovecot.Container != "" {
		t.Errorf("Dovecot: %+v", f.Dovecot)
	}
	sql := []Connection{{From: cf, Driver: "mysql", Host: "127.0.0.1", User: "postfix", Database: "mailserver", Password: "s3cret"}}
	if diff := cmp.Diff(sql, f.SQL); diff != "" {
		t.Errorf("connections (-want +got):\n%s", diff)
	}
	var names []string
	for _, c := range Preflight(f, nil, nil, Needs{FreeBytes: -1}) {
		if c.Name != "rights" && c.Name != "dkim" { // these depend on this machine
			names = append(names, c.Name+" "+c.Level.String())
		}
	}
	checks := []string{"system ok", "rsync ok", "dovecot ok", "format ok", "folders ok", "queue warn", "delimiter warn"}
	if diff := cmp.Diff(checks, names); diff != "" {
		t.Errorf("checks (-want +got):\n%s", diff)
	}
}

// docker is a program that has one container, whose programs are in bin.
func docker(listed, inspected, bin string) string {
	return `case $1 in
ps) case $* in *-q*) echo 0123 ;; *) printf '%s\n' '` + listed + `' ;; esac ;;
inspect) printf '%s\n' '` + inspected + `' ;;
exec)
	shift
	if [ "$1" = -i ]; then shift; fi
	shift
	PATH=` + bin + `:$PATH exec "$@" ;;
esac`
}

func TestInspectContainer(t *testing.T) {
	bin := programs(t, map[string]string{
		"doveconf": show(t, "testdata/doveconf/dms-v16.conf"),
		"dovecot":  "echo 2.4.1-4",
		"test":     `[ "$*" = "-f /tmp/docker-mailserver/postfix-accounts.cf" ]`,
	})
	const inspected = `{"name":"/mailserver","image":"ghcr.io/docker-mailserver/docker-mailserver:16","labels":{"a":"b"},` +
		`"mounts":[{"Type":"bind","Source":"/srv/dms/mail","Destination":"/var/mail"},{"Source":"/srv/dms/mail/x","Destination":"/var/mail/x.example"}]}`
	host := newHost(t, map[string]string{"docker": docker("mailserver docker-mailserver:16 a=b", inspected, bin)})
	f, err := Inspect(t.Context(), host, Options{Container: "mailserver"})
	if err != nil {
		t.Fatal(err)
	}
	want := []Container{{
		Name: "mailserver", Image: "ghcr.io/docker-mailserver/docker-mailserver:16", Labels: map[string]string{"a": "b"},
		Mounts: []Mount{{"/srv/dms/mail", "/var/mail"}, {"/srv/dms/mail/x", "/var/mail/x.example"}},
	}}
	if diff := cmp.Diff(want, f.Containers); diff != "" || f.Engine != "docker" || f.Dovecot.Container != "mailserver" || f.Dovecot.Version != "2.4.1-4" || f.Files != "/tmp/docker-mailserver" || !f.Inside {
		t.Errorf("containers (-want +got):\n%s\nDovecot %+v, traces %q", diff, f.Dovecot, f.Traces)
	}
	for inside, outside := range map[string]string{
		"/var/mail/example.org/a": "/srv/dms/mail/example.org/a", "/var/mail": "/srv/dms/mail", "/var/mail/x.example/a": "/srv/dms/mail/x/a",
		"/var/mailman": "", "/var/lib/x": "", "": "",
	} {
		if got := f.outside(inside); got != outside {
			t.Errorf("%q is %q outside, want %q", inside, got, outside)
		}
	}
	if _, err := Inspect(t.Context(), host, Options{Container: "other"}); err == nil || !strings.Contains(err.Error(), `no container "other"`) {
		t.Errorf("a container that is not there: %v", err)
	}
	if _, err := Inspect(t.Context(), newHost(t, nil), Options{Container: "other"}); err == nil || !strings.Contains(err.Error(), "neither docker nor podman") {
		t.Errorf("a container without an engine: %v", err)
	}
}

func TestFindDumper(t *testing.T) {
	dir := t.TempDir()
	log, columns := filepath.Join(dir, "log"), filepath.Join(dir, "columns.xml")
	if err := os.WriteFile(columns, serverOf(t, "mailserver", "ispmail").columns(), 0o600); err != nil {
		t.Fatal(err)
	}
	mysqldump := `printf '%s\n' "$*" >>` + log + `
case $* in
*--user=dovecot*) [ "$MYSQL_PWD" = "it's" ] || exit 9 ;;
*) echo "mysqldump: Got error: 1045: Access denied for user 'root'@'localhost'" >&2; exit 2 ;;
esac
case $* in
*information_schema*) cat ` + columns + ` ;;
*) ` + show(t, "testdata/dump/ispmail.xml") + ` ;;
esac`
	host := newHost(t, map[string]string{"mysqldump": mysqldump, "mariadb-dump": mysqldump})
	facts := &Facts{Traces: []string{"/etc/mysql/debian.cnf"}, SQL: []Connection{
		{Driver: "mysql", From: "/etc/a", User: "postfix", Password: "wrong"},
		{Driver: "mysql", From: "/etc/b", User: "dovecot", Password: "it's", Host: "127.0.0.1", Port: "3307", Database: "mailserver"},
	}}
	d, err := FindDumper(t.Context(), host, facts)
	if err != nil {
		t.Fatal(err)
	}
	list, err := ReadAccounts(t.Context(), d, facts, AccountOptions{})
	if err != nil || len(list.Accounts) != 3 || list.Schema != "ispmail" {
		t.Fatalf("accounts: %+v, %v", list, err)
	}
	ran, err := os.ReadFile(log)
	if err != nil || strings.Contains(string(ran), "it's") || strings.Contains(string(ran), "wrong") {
		t.Errorf("a password is an argument:\n%s%v", ran, err)
	}
	calls := strings.Split(strings.TrimSpace(string(ran)), "\n")
	last := calls[len(calls)-1]
	if !strings.HasPrefix(calls[1], "--defaults-file=/etc/mysql/debian.cnf ") ||
		!strings.HasPrefix(last, "--no-defaults --user=dovecot --loose-skip-ssl-verify-server-cert --host=127.0.0.1 --port=3307 --xml --single-transaction --skip-lock-tables ") ||
		!strings.HasSuffix(last, " -- mailserver virtual_aliases virtual_domains virtual_users") {
		t.Errorf("calls:\n%s", ran)
	}

	facts.SQL = facts.SQL[:1]
	_, err = FindDumper(t.Context(), host, facts)
	if err == nil || strings.Count(err.Error(), "Access denied") != 3 || !strings.Contains(err.Error(), "as postfix of /etc/a") {
		t.Errorf("no way in: %v", err)
	}
	_, err = FindDumper(t.Context(), newHost(t, nil), &Facts{SQL: []Connection{{Driver: "pgsql", From: "/etc/c"}}})
	if err == nil || !strings.Contains(err.Error(), "pgsql (/etc/c), which cannot be read") {
		t.Errorf("PostgreSQL: %v", err)
	}
}

// The containers of mailcow and of mailstack are asked from inside, by the
// secrets that they have there.
func TestContainerDumpers(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	bin := programs(t, map[string]string{
		"mariadb-dump": `printf '%s|' "$MYSQL_PWD" "$@" >>` + log + `; echo '<x/>'`,
		"mariadb":      `printf '%s|' "$MYSQL_PWD" "$@" >>` + log + `; /bin/cat >>` + log + `; echo '<x/>'`,
		"cat":          `[ "$1" = /run/mailstack/secret/admin ] && echo adminsecret`,
	})
	t.Setenv("MYSQL_ROOT_PASSWORD", "rootsecret")
	host := newHost(t, map[string]string{"docker": docker("", "", bin)})
	box := func(name string, labels ...string) Container {
		c := Container{Name: name, Labels: map[string]string{}}
		for pair := range slices.Chunk(labels, 2) {
			c.Labels[pair[0]] = pair[1]
		}
		return c
	}
	for _, test := range []struct {
		name  string
		facts Facts
		by    string
		want  string
	}{
		{
			"mailcow",
			Facts{Engine: "docker", Containers: []Container{box("mailcow-mysql-1", composeService, "mysql-mailcow")}},
			"in container mailcow-mysql-1", "rootsecret|--user=root|--xml|",
		},
		{"mailstack", Facts{Engine: "docker", Dovecot: Dovecot{Container: "mail-dovecot"}, Containers: []Container{
			box("demo-mysql", mailstackService, "mysql", mailstackStack, "demo"), box("demo-dovecot", mailstackService, "dovecot", mailstackStack, "demo"),
			box("mail-mysql", mailstackService, "mysql", mailstackStack, "mail"), box("mail-dovecot", mailstackService, "dovecot", mailstackStack, "mail"),
		}}, "in container mail-mysql", "adminsecret|--no-defaults|--skip-ssl|--user=admin|"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_ = os.Remove(log)
			d, err := FindDumper(t.Context(), host, &test.facts)
			if err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(log)
			if err != nil || !strings.HasPrefix(string(got), test.want) || !strings.Contains(string(got), "COLUMNS") {
				t.Errorf("got %s, %v, want %s", got, err, test.want)
			}
			if by := d.(*remoteDumper).name; by != test.by {
				t.Errorf("it was asked %s, want %s", by, test.by)
			}
		})
	}
}

func TestReadFiles(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "postfix-accounts.cf"), []byte("alice@example.org|{SHA512-CRYPT}$6$s$h\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	host := newHost(t, nil)
	list, err := ReadFiles(t.Context(), host, &Facts{}, dir)
	if err != nil || len(list.Accounts) != 1 || list.Schema != "docker-mailserver" {
		t.Errorf("%+v, %v", list, err)
	}
	if _, err := ReadFiles(t.Context(), host, &Facts{}, t.TempDir()); err == nil || !strings.Contains(err.Error(), "no postfix-accounts.cf") {
		t.Errorf("an empty directory: %v", err)
	}
}
