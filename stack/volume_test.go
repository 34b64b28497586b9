package stack

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// tree makes files and directories (names that end in a slash) below dir.
func tree(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, data := range files {
		path := filepath.Join(dir, name)
		if strings.HasSuffix(name, "/") {
			must(t, os.MkdirAll(path, 0o755))
			continue
		}
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, []byte(data), 0o600))
	}
}

func markOf(id, volume string, format int) string {
	return fmt.Sprintf(`{"stack_id":%q,"volume":%q,"format":%d,"created":"2025-11-22T17:00:00Z"}`, id, volume, format)
}

func TestObserveVolume(t *testing.T) {
	type facts struct {
		empty, renamed, complete bool
		problem                  string // part of it
		strange                  int
	}
	for name, test := range map[string]struct {
		files map[string]string
		want  facts
	}{
		"missing":                    {nil, facts{empty: true}},
		"lost+found":                 {map[string]string{"lost+found/": ""}, facts{empty: true}},
		"lost+found with files":      {map[string]string{"lost+found/#12": ""}, facts{empty: true}},
		"own leftovers":              {map[string]string{"data.tmp-" + testID + "/x": "", "." + pendingMark(testID) + ".tmp-1": "", pendingMark(testID): ""}, facts{empty: true}},
		"another stack's leftovers":  {map[string]string{"data.tmp-" + otherID + "/x": "", pendingMark(otherID): ""}, facts{strange: 2}},
		"a file":                     {map[string]string{"mail": ""}, facts{strange: 1}},
		"a hidden file":              {map[string]string{".mail": ""}, facts{strange: 1}},
		"content without a mark":     {map[string]string{"data/ibdata1": ""}, facts{}},
		"an empty data directory":    {map[string]string{"data/": ""}, facts{}},
		"complete":                   {map[string]string{"data/": "", MarkName: markOf(testID, "mysql", 1)}, facts{complete: true}},
		"complete, and lost+found":   {map[string]string{"data/": "", "lost+found/": "", MarkName: markOf(testID, "mysql", 1)}, facts{complete: true}},
		"another stack's":            {map[string]string{"data/": "", MarkName: markOf(otherID, "mysql", 1)}, facts{}},
		"another volume":             {map[string]string{"data/": "", MarkName: markOf(testID, "vmail", 1)}, facts{}},
		"mark alone":                 {map[string]string{MarkName: markOf(testID, "mysql", 1)}, facts{}},
		"renamed, not marked":        {map[string]string{"data/": "", pendingMark(testID): markOf(testID, "mysql", 1)}, facts{renamed: true}},
		"another's renamed":          {map[string]string{"data/": "", pendingMark(otherID): markOf(otherID, "mysql", 1)}, facts{strange: 1}},
		"mark of a newer format":     {map[string]string{"data/": "", MarkName: markOf(testID, "mysql", 2)}, facts{problem: "format 2 is newer than this program knows (1)"}},
		"mark that is not one":       {map[string]string{"data/": "", MarkName: "{"}, facts{problem: MarkName}},
		"empty mark":                 {map[string]string{"data/": "", MarkName: "{}"}, facts{problem: "not what mailstack wrote"}},
		"mark that is too large":     {map[string]string{"data/": "", MarkName: strings.Repeat(" ", 5000)}, facts{problem: "5000 bytes"}},
		"mark that is a directory":   {map[string]string{"data/": "", MarkName + "/": ""}, facts{problem: "not a regular file"}},
		"content that is a file":     {map[string]string{"data": "", MarkName: markOf(testID, "mysql", 1)}, facts{problem: "is not a directory"}},
		"content of a socket volume": {map[string]string{"run/": ""}, facts{strange: 1}},
	} {
		l := Layout{Dir: t.TempDir()}
		if test.files != nil {
			tree(t, l.Volume("mysql"), test.files)
		}
		v := observeVolume(l, "mysql", testID)
		got := facts{empty: v.Empty, renamed: v.Renamed, complete: v.Complete(testID), strange: len(v.Strange)}
		if problem := errText(v.Problem); test.want.problem != "" && strings.Contains(problem, test.want.problem) {
			got.problem = test.want.problem
		} else {
			got.problem = problem
		}
		if got != test.want {
			t.Errorf("%s: %+v, want %+v", name, got, test.want)
		}
		if v.Complete("") || v.Complete(otherID) && test.want.complete {
			t.Errorf("%s: complete for everybody", name)
		}
	}
}

// A link in place of the mark or of the content is not followed.
func TestObserveVolumeOfLinks(t *testing.T) {
	l := Layout{Dir: t.TempDir()}
	tree(t, l.Dir, map[string]string{"vmail/data/": "", "vmail/" + MarkName: markOf(testID, "mysql", 1), "mysql/": ""})
	must(t, os.Symlink(filepath.Join(l.Volume("vmail"), MarkName), filepath.Join(l.Volume("mysql"), MarkName)))
	must(t, os.Symlink(l.Content("vmail"), l.Content("mysql")))
	v := observeVolume(l, "mysql", testID)
	if v.Complete(testID) || !strings.Contains(errText(v.Problem), "symbolic link") || !strings.Contains(errText(v.Problem), "is not a directory") {
		t.Errorf("%+v", v)
	}
}

func TestVolumeThatCannotBeRead(t *testing.T) {
	l := Layout{Dir: t.TempDir()}
	tree(t, l.Dir, map[string]string{"mysql": "a file"})
	if v := observeVolume(l, "mysql", testID); v.Problem == nil || v.Empty {
		t.Errorf("%+v", v)
	}
}

// An initialisation ends in a directory of the owner, a mark and nothing else,
// whatever was left there before.
func TestInitVolume(t *testing.T) {
	needRoot(t)
	l := Layout{Dir: t.TempDir(), Paths: map[string]string{"mysql": filepath.Join(t.TempDir(), "not", "there", "yet")}}
	i := volumeInit{layout: l, name: "mysql", id: testID, owner: Owner{UID: 5301, GID: 5301, Mode: 0o711}}
	tree(t, l.Volume("mysql"), map[string]string{
		"data.tmp-" + testID + "/old": "", pendingMark(testID): "x", "." + pendingMark(testID) + ".tmp-12": "x", "lost+found/": "",
	})
	must(t, i.begin())
	if entries, err := os.ReadDir(i.tmp()); err != nil || len(entries) > 0 {
		t.Errorf("the temporary directory holds %v %v", entries, err)
	}
	if observeVolume(l, "mysql", testID).Complete(testID) {
		t.Error("complete before it is")
	}
	tree(t, i.tmp(), map[string]string{"a/b/c": "content"})
	must(t, os.Symlink("/nowhere", filepath.Join(i.tmp(), "link")))
	must(t, i.finish(testTime))
	var names []string
	entries, err := os.ReadDir(l.Volume("mysql"))
	must(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if got := strings.Join(names, " "); got != ".mailstack-volume data lost+found" {
		t.Errorf("the volume holds %s", got)
	}
	info, err := os.Stat(l.Content("mysql"))
	must(t, err)
	if info.Mode().Perm() != 0o711 || !ownedBy(info, 5301, 5301) {
		t.Errorf("content: %v", info.Mode())
	}
	data, err := os.ReadFile(filepath.Join(l.Volume("mysql"), MarkName))
	must(t, err)
	var mark Mark
	must(t, json.Unmarshal(data, &mark))
	if (mark != Mark{StackID: testID, Volume: "mysql", Format: 1, Created: testTime}) {
		t.Errorf("mark %+v", mark)
	}
}

// Another stack may be at work in the same directory, by mistake.
func TestInitLeavesOthersAlone(t *testing.T) {
	l := Layout{Dir: t.TempDir()}
	tree(t, l.Volume("vmail"), map[string]string{"data.tmp-" + otherID + "/x": "", pendingMark(otherID): "x"})
	must(t, volumeInit{layout: l, name: "vmail", id: testID}.begin())
	for _, name := range []string{"data.tmp-" + otherID + "/x", pendingMark(otherID)} {
		if _, err := os.Lstat(filepath.Join(l.Volume("vmail"), name)); err != nil {
			t.Error(err)
		}
	}
}

func TestWriteFile(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	path, target := filepath.Join(dir, "file"), filepath.Join(dir, "target")
	tree(t, dir, map[string]string{"target": "untouched"})
	must(t, os.Symlink(target, path))
	must(t, WriteFile(path, []byte("new"), Owner{UID: 5301, GID: 5305, Mode: 0o640}))
	info, err := os.Lstat(path)
	must(t, err)
	if info.Mode() != 0o640 || !ownedBy(info, 5301, 5305) {
		t.Errorf("%v", info.Mode())
	}
	if data, _ := os.ReadFile(target); string(data) != "untouched" {
		t.Error("written through a link")
	}
	// A failure leaves the old content and no temporary file.
	must(t, os.Mkdir(filepath.Join(dir, "directory"), 0o700))
	if err := WriteFile(filepath.Join(dir, "directory"), []byte("x"), Owner{Mode: 0o600}); err == nil {
		t.Error("a directory was replaced")
	}
	entries, err := os.ReadDir(dir)
	must(t, err)
	if len(entries) != 3 {
		t.Errorf("left %v", entries)
	}
	// A link in place of a directory belongs to somebody else.
	must(t, os.Symlink(dir, filepath.Join(dir, "link")))
	if err := makeDir(filepath.Join(dir, "link"), Owner{Mode: 0o777}); err == nil {
		t.Error("a link was taken for a directory")
	}
}

// What is rendered appears whole, and what is no longer wanted goes; the plan
// says why it must be written, and never quotes a secret.
func TestStaleFiles(t *testing.T) {
	w := newWorld(t)
	w.mustUp()
	run := func(service, path string) string { return filepath.Join(w.set.Layout.Dir, "run", service, path) }
	edit := func(t *testing.T, path, old, new string) {
		data, err := os.ReadFile(path)
		must(t, err)
		changed := strings.Replace(string(data), old, new, 1)
		if changed == string(data) {
			t.Fatalf("%s does not hold %q", path, old)
		}
		must(t, os.WriteFile(path, []byte(changed), 0o600))
	}
	for name, test := range map[string]struct {
		service string
		change  func(t *testing.T)
		want    string
	}{
		"changed line": {"postfix", func(t *testing.T) {
			edit(t, run("postfix", "config/main.cf"), "message_size_limit", "message_sighs_limit")
		}, "config/main.cf: \"message_sighs_limit"},
		"line too many": {"mysql", func(t *testing.T) {
			edit(t, run("mysql", "config/my.cnf"), "skip-networking\n", "bind-address = *\nskip-networking\n")
		}, `config/my.cnf: "bind-address = *" goes`},
		"line too few": {
			"mysql", func(t *testing.T) { edit(t, run("mysql", "config/my.cnf"), "skip-networking\n", "") },
			`config/my.cnf: "skip-networking" comes`,
		},
		"changed secret": {"mysql", func(t *testing.T) { must(t, os.WriteFile(run("mysql", "secret/admin"), []byte("other\n"), 0o600)) }, "secret/admin changes"},
		"missing file":   {"postfix", func(t *testing.T) { must(t, os.Remove(run("postfix", "config/master.cf"))) }, "config/master.cf is missing"},
		"other mode":     {"postfix", func(t *testing.T) { must(t, os.Chmod(run("postfix", "secret/senders.cf"), 0o644)) }, "secret/senders.cf has another mode or owner"},
		"other owner":    {"postfix", func(t *testing.T) { must(t, os.Chown(run("postfix", "secret/senders.cf"), 1, 1)) }, "secret/senders.cf has another mode or owner"},
		"link": {"postfix", func(t *testing.T) {
			must(t, os.Rename(run("postfix", "config/main.cf"), run("postfix", "config/x")))
			must(t, os.Symlink("x", run("postfix", "config/main.cf")))
		}, "config/main.cf is not a regular file"},
		"file too many":   {"dovecot", func(t *testing.T) { tree(t, run("dovecot", "config"), map[string]string{"more": ""}) }, "config/more is no longer used"},
		"no certificates": {"dovecot", func(t *testing.T) { must(t, os.RemoveAll(run("dovecot", "tls"))) }, "tls/ is missing"},
		"no secrets":      {"dovecot", func(t *testing.T) { must(t, os.RemoveAll(run("dovecot", "secret"))) }, "secret/"},
		"nothing":         {"dovecot", func(t *testing.T) { must(t, os.RemoveAll(run("dovecot", ""))) }, "not written yet"},
	} {
		t.Run(name, func(t *testing.T) {
			want := w.state()
			test.change(t)
			d, _, err := w.plan(Options{})
			must(t, err)
			s, _ := d.Graph.Service(test.service)
			why, err := staleFiles(d.Layout, s, d.Files[s.Name])
			if err != nil || !strings.Contains(why, test.want) {
				t.Errorf("cause %q %v, want %q", why, err, test.want)
			}
			p := w.mustUp()
			for _, secret := range d.Secrets {
				if shows(p.String()+why, secret.Reveal()) != "" {
					t.Errorf("a secret in the plan:\n%s", p)
				}
			}
			w.checkFinished()
			checkState(t, w.state(), want)
			for _, op := range p.Operations {
				if _, ok := op.Action.(WaitReady); ok && op.Subject != test.service && !(test.service == "mysql" && op.Subject == "database") {
					t.Errorf("%s was touched:\n%s", op.Subject, p)
				}
			}
		})
	}
}

func TestRetireMailbox(t *testing.T) {
	l := Layout{Dir: t.TempDir()}
	when := time.Date(2025, 11, 22, 17, 0, 0, 0, time.UTC)
	tree(t, l.Content("vmail"), map[string]string{"example.org/me/Maildir/new/1": "mail"})
	to, err := RetireMailbox(l, "me@example.org", when)
	must(t, err)
	if data, err := os.ReadFile(filepath.Join(to, "Maildir/new/1")); err != nil || string(data) != "mail" || !strings.HasPrefix(to, l.Content("vmail")+"/.removed/me@example.org.") {
		t.Errorf("moved to %s: %v", to, err)
	}
	for _, address := range []string{"me@example.org", "you@example.org", "me@example.net"} {
		if to, err := RetireMailbox(l, address, when); err != nil || to != "" {
			t.Errorf("%s, who has no mail: %q %v", address, to, err)
		}
	}
	// The mail daemon owns the store: its links are not followed.
	elsewhere := t.TempDir()
	tree(t, elsewhere, map[string]string{"me/Maildir/new/1": "mail"})
	must(t, os.Symlink(elsewhere, filepath.Join(l.Content("vmail"), "example.com")))
	for _, address := range []string{"me@example.com", "..@example.org", "a/b@example.org", "me@..", "@example.org", "me@", "me"} {
		if to, err := RetireMailbox(l, address, when); err == nil {
			t.Errorf("%s was moved to %q", address, to)
		}
	}
	if _, err := os.Lstat(filepath.Join(elsewhere, "me/Maildir/new/1")); err != nil {
		t.Error(err)
	}
}

func TestMailboxes(t *testing.T) {
	l := Layout{Dir: t.TempDir()}
	tree(t, l.Content("vmail"), map[string]string{
		"b.example/me/Maildir/new/1": "mail", "a.example/me/Maildir/new/1": "mail", "a.example/ann/Maildir/cur/1": "mail",
		".removed/old@a.example.20251122T170000Z/Maildir/new/1": "mail", "a.example/empty/sieve/x": "no mail", "file": "no domain",
	})
	elsewhere := t.TempDir()
	tree(t, elsewhere, map[string]string{"me/Maildir/new/1": "mail"})
	must(t, os.Symlink(elsewhere, filepath.Join(l.Content("vmail"), "c.example")))
	must(t, os.Symlink(filepath.Join(elsewhere, "me"), filepath.Join(l.Content("vmail"), "a.example", "link")))
	all, err := Mailboxes(l)
	if want := "ann@a.example me@a.example me@b.example"; err != nil || strings.Join(all, " ") != want {
		t.Errorf("mailboxes %v, %v, want %s", all, err, want)
	}
	if _, err := Mailboxes(Layout{Dir: filepath.Join(elsewhere, "gone")}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a store that is not there: %v", err)
	}
}
