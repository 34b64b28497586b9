package e2e

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Volumes, backups and scripts of others depend on these names. They are
// written out here instead of being read from the program, so that changing
// one there is a failure here.

// userIDs are the uid and, under the same name, the gid in every image.
var userIDs = map[string]int{
	"mysql": 5301, "vmail": 5302, "dovecot": 5303, "dovenull": 5304, "postfix": 5305, "_rspamd": 5307, "valkey": 5308,
}

const postdropGID = 5306

// socketOwners are the uid and gid of each socket directory but the filter's, where
// the group decides who may have messages signed.
var socketOwners = map[string]int{"mysql": 5301, "dovecot": 0, "postfix": 5305, "valkey": 5308}

// mountTargets are what is mounted into each container from the host.
var mountTargets = map[string][]string{
	"mysql": {"/run/mailstack/config", "/run/mailstack/secret", "/socket/mysql", "/var/lib/mysql"},
	"dovecot": {
		"/run/mailstack/config", "/run/mailstack/secret", "/run/mailstack/tls",
		"/socket/dovecot", "/socket/filter", "/socket/mysql", "/socket/postfix", "/var/vmail",
	},
	"postfix": {
		"/run/mailstack/config", "/run/mailstack/secret", "/run/mailstack/tls",
		"/socket/dovecot", "/socket/filter", "/socket/mysql", "/socket/postfix", "/var/spool/postfix",
	},
	"filter": {"/run/mailstack/config", "/run/mailstack/secret", "/run/mailstack/signing", "/socket/filter", "/socket/valkey"},
	"valkey": {"/run/mailstack/config", "/run/mailstack/secret", "/socket/valkey", "/var/lib/valkey"},
}

func TestNamesThatNeverChange(t *testing.T) {
	t.Parallel()
	s := shared(t)
	t.Run("containers", func(t *testing.T) { s.testContainerNames(t) })
	t.Run("ids", func(t *testing.T) { s.testUserIDs(t) })
	t.Run("sockets", func(t *testing.T) { s.testSocketModes(t) })
	t.Run("database", func(t *testing.T) { s.testDatabaseNames(t) })
	t.Run("marks", func(t *testing.T) { s.testMarks(t) })
	t.Run("mail", func(t *testing.T) { s.testMailPaths(t) })
}

var specHash = regexp.MustCompile(`^[0-9a-f]{16,}$`)

func (s *Stack) testContainerNames(t *testing.T) {
	byLabel := "label=mailstack.stack=" + s.name
	want := []string{s.name + "-dovecot", s.name + "-filter", s.name + "-mysql", s.name + "-postfix", s.name + "-valkey"}
	// A one-shot of another test's command may be there for a moment.
	var names []string
	for _, name := range strings.Fields(docker(t, "ps", "-a", "--filter", byLabel, "--format", "{{.Names}}")) {
		if !strings.HasSuffix(name, "-init") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	if !slices.Equal(names, want) {
		t.Errorf("containers %v, want %v", names, want)
	}
	networks := slices.Sorted(slices.Values(strings.Fields(docker(t, "network", "ls", "--filter", byLabel, "--format", "{{.Name}}"))))
	if want := []string{s.name + "-dovecot", s.name + "-filter", s.name + "-postfix"}; !slices.Equal(networks, want) {
		t.Errorf("networks %v, want %v", networks, want)
	}
	for _, service := range services {
		c := inspect(t, s.name+"-"+service)
		labels := c.Config.Labels
		if labels["mailstack.stack"] != s.name || labels["mailstack.service"] != service || !specHash.MatchString(labels["mailstack.spec"]) {
			t.Errorf("%s: labels %v", service, labels)
		}
		network := s.name + "-" + service
		if service == "mysql" || service == "valkey" {
			network = "none"
		}
		if have := slices.Collect(maps.Keys(c.NetworkSettings.Networks)); !slices.Equal(have, []string{network}) {
			t.Errorf("%s is in the networks %v, want %s", service, have, network)
		}
		var targets []string
		for _, m := range c.Mounts {
			if m.Type != "tmpfs" {
				targets = append(targets, m.Destination)
			}
		}
		slices.Sort(targets)
		if !slices.Equal(targets, mountTargets[service]) {
			t.Errorf("%s: mounted are %v, want %v", service, targets, mountTargets[service])
		}
	}
}

// testUserIDs reads the files of each image: its containers have no others,
// their root is read-only.
func (s *Stack) testUserIDs(t *testing.T) {
	for _, service := range services {
		for file, extra := range map[string]map[string]int{"/etc/passwd": nil, "/etc/group": {"postdrop": postdropGID}} {
			want := maps.Clone(userIDs)
			maps.Copy(want, extra)
			out, code := s.exec(t, service, "cat", file)
			if code != 0 {
				t.Fatalf("%s: %s", service, out)
			}
			for line := range strings.Lines(out) {
				fields := strings.Split(strings.TrimSpace(line), ":")
				id, ours := want[fields[0]]
				switch {
				case ours && fields[2] != fmt.Sprint(id):
					t.Errorf("%s: %s in %s is %s, want %d", service, fields[0], file, fields[2], id)
				case ours && file == "/etc/passwd" && fields[3] != fmt.Sprint(id):
					t.Errorf("%s: the group of %s is %s, want %d", service, fields[0], fields[3], id)
				case !ours && strings.HasPrefix(fields[2], "530"):
					t.Errorf("%s: %s is used twice: %s", service, fields[2], line)
				}
				delete(want, fields[0])
			}
			if len(want) > 0 {
				t.Errorf("%s: not in %s: %v", service, file, want)
			}
		}
	}
}

// expectFile checks type, permissions and owner of a file on the host.
func expectFile(t *testing.T, path string, mode fs.FileMode, uid, gid int) {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Error(err)
		return
	}
	owner := info.Sys().(*syscall.Stat_t)
	if info.Mode() != mode || int(owner.Uid) != uid || int(owner.Gid) != gid {
		t.Errorf("%s is %v %d:%d, want %v %d:%d", path, info.Mode(), owner.Uid, owner.Gid, mode, uid, gid)
	}
}

func (s *Stack) testSocketModes(t *testing.T) {
	expectFile(t, s.data(), fs.ModeDir|0o700, 0, 0)
	for service, id := range socketOwners {
		expectFile(t, filepath.Join(s.data(), "socket", service, "run"), fs.ModeDir|0o711, id, id)
	}
	dir := filepath.Join(s.data(), "socket/dovecot/run")
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
		expectFile(t, filepath.Join(dir, e.Name()), fs.ModeSocket|0o600, 5305, 0)
	}
	if want := []string{"auth", "lmtp", "quota-status"}; !slices.Equal(names, want) {
		t.Errorf("Dovecot listens on %v, want %v", names, want)
	}
	expectFile(t, filepath.Join(s.data(), "socket/mysql/run/mysqld.sock"), fs.ModeSocket|0o777, 5301, 5301)
	expectFile(t, filepath.Join(s.data(), "socket/postfix/run/submit"), fs.ModeSocket|0o666, 5305, 5305)
	expectFile(t, filepath.Join(s.data(), "socket/filter/run"), fs.ModeDir|fs.ModeSetgid|0o711, 5307, 5305)
	expectFile(t, filepath.Join(s.data(), "socket/filter/run/milter"), fs.ModeSocket|0o660, 5307, 5305)
	expectFile(t, filepath.Join(s.data(), "socket/filter/run/learn"), fs.ModeSocket|0o606, 5307, 5305)
	expectFile(t, filepath.Join(s.data(), "socket/valkey/run/valkey.sock"), fs.ModeSocket|0o666, 5308, 5308)
}

// testDatabaseNames: who could log in, by the server's own table: every account
// that is not locked, whatever its password.
func (s *Stack) testDatabaseNames(t *testing.T) {
	admin := s.databaseAs(t, "admin")
	rows, err := admin.Query("SELECT User, Host, Priv FROM mysql.global_priv")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var logins []string
	for rows.Next() {
		var user, host, text string
		if err := rows.Scan(&user, &host, &text); err != nil {
			t.Fatal(err)
		}
		var priv struct {
			Locked bool   `json:"account_locked"`
			Role   bool   `json:"is_role"`
			Plugin string `json:"plugin"`
		}
		if err := json.Unmarshal([]byte(text), &priv); err != nil {
			t.Fatalf("%s@%s: %v", user, host, err)
		}
		if !priv.Locked && !priv.Role {
			logins = append(logins, user+"@"+host+" "+priv.Plugin)
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	slices.Sort(logins)
	const by = "@localhost mysql_native_password"
	if want := []string{"admin" + by, "dovecot" + by, "postfix" + by}; !slices.Equal(logins, want) {
		t.Errorf("who can log in: %q, want %q", logins, want)
	}
	for _, user := range []string{"admin", "dovecot", "postfix"} {
		var database, is string
		if err := s.databaseAs(t, user).QueryRow("SELECT DATABASE(), CURRENT_USER()").Scan(&database, &is); err != nil || database != "mail" || is != user+"@localhost" {
			t.Errorf("%s: logged in to %q as %q: %v", user, database, is, err)
		}
	}
}

// testMarks: each volume has its mark, nothing else has one, and each says what
// a later version of the program will look for.
func (s *Stack) testMarks(t *testing.T) {
	id, err := os.ReadFile(filepath.Join(s.data(), "stack-id"))
	if err != nil {
		t.Fatal(err)
	}
	for _, volume := range []string{"mysql", "queue", "vmail", "valkey", "socket/mysql", "socket/dovecot", "socket/postfix", "socket/filter", "socket/valkey"} {
		data, err := os.ReadFile(filepath.Join(s.data(), volume, ".mailstack-volume"))
		if err != nil {
			t.Error(err)
			continue
		}
		var mark map[string]any
		if err := json.Unmarshal(data, &mark); err != nil {
			t.Errorf("%s: %v: %s", volume, err, data)
			continue
		}
		created, err := time.Parse(time.RFC3339, fmt.Sprint(mark["created"]))
		if err != nil || time.Since(created) < 0 || time.Since(created) > 24*time.Hour {
			t.Errorf("%s: created %v (%v)", volume, mark["created"], err)
		}
		delete(mark, "created")
		want := map[string]any{"stack_id": strings.TrimSpace(string(id)), "volume": volume, "format": 1.0}
		if !maps.Equal(mark, want) {
			t.Errorf("%s: its mark is %v, want %v", volume, mark, want)
		}
		content := "data"
		if strings.HasPrefix(volume, "socket/") {
			content = "run"
		}
		// The pattern matches names that begin with a dot too.
		all, _ := filepath.Glob(filepath.Join(s.data(), volume, "*"))
		if len(all) != 2 || filepath.Base(all[1]) != content {
			t.Errorf("%s holds %v, want its mark and %s", volume, all, content)
		}
	}
	for _, dir := range []string{".", "run", "socket", "*/data", "socket/*/run"} {
		if found, _ := filepath.Glob(filepath.Join(s.data(), dir, ".mailstack-volume")); len(found) > 0 {
			t.Errorf("marks where no volume is: %v", found)
		}
	}
}

// testMailPaths: where a message and a nested folder are on disk, and how IMAP
// names the folder.
func (s *Stack) testMailPaths(t *testing.T) {
	domain := s.domain(t)
	user := "reader@" + domain
	password := s.accountNamed(t, user)
	s.waitMail(t, user, password, "INBOX", s.deliver(t, stranger, user))
	maildir := filepath.Join(s.data(), "vmail/data", domain, "reader/Maildir")
	messages := func(folder string) int {
		var found []string
		for _, sub := range []string{"new", "cur"} {
			files, _ := filepath.Glob(filepath.Join(maildir, folder, sub, "*"))
			found = append(found, files...)
		}
		return len(found)
	}
	if n := messages(""); n != 1 {
		t.Errorf("%d messages in %s, want 1:\n%s", n, maildir, tree(filepath.Dir(maildir)))
	}
	expectFile(t, maildir, fs.ModeDir|0o700, 5302, 5302)
	c := s.imap(t, user, password)
	if err := c.Create("Work/Old", nil).Wait(); err != nil {
		t.Fatalf("create a nested folder: %v", err)
	}
	list, err := c.List("", "*", nil).Collect()
	if err != nil || len(list) < 2 {
		t.Fatalf("LIST: %v %v", list, err)
	}
	names := map[string]bool{}
	for _, mailbox := range list {
		names[mailbox.Mailbox] = true
		if mailbox.Delim != '/' {
			t.Errorf("the separator of %s is %q", mailbox.Mailbox, mailbox.Delim)
		}
	}
	if !names["Work/Old"] || !names["INBOX"] {
		t.Errorf("LIST has %v, not INBOX and Work/Old", names)
	}
	letter := message(user, user, "kept", "Hello.")
	add := c.Append("Work/Old", int64(len(letter)), nil)
	_, _ = add.Write([]byte(letter)) // what goes wrong is the command's answer
	_ = add.Close()
	if _, err := add.Wait(); err != nil || messages(".Work.Old") != 1 {
		t.Errorf("no message in .Work.Old (%v):\n%s", err, tree(maildir))
	}
}
