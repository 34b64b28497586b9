package migrate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mailstack/migrate/maildir"

	"github.com/google/go-cmp/cmp"
)

// world is an old server and a new one, in directories of this machine.
type world struct {
	t        *testing.T
	old      string // the old server's mail
	volume   string
	host     *localHost
	accounts []Account
	opts     Options
}

// newWorld makes one without mail. The programs of the old server run here, and
// rsync's remote shell is one that stays here.
func newWorld(t *testing.T) *world {
	t.Helper()
	dir := t.TempDir()
	w := &world{t: t, old: filepath.Join(dir, "old", "vmail"), volume: filepath.Join(dir, "volume")}
	w.mkdir(w.old)
	w.mkdir(filepath.Join(w.volume, "data"))
	shell := filepath.Join(dir, "shell")
	w.write(shell, "#!/bin/sh\nshift\nexec \"$@\"\n")
	if err := os.Chmod(shell, 0o700); err != nil {
		t.Fatal(err)
	}
	w.host = &localHost{shell: shell, slots: 2}
	w.opts = Options{
		From: w.host,
		To: Destination{
			Volume: w.volume, Store: filepath.Join(w.volume, "data"), UID: os.Getuid(), GID: os.Getgid(),
			Marked: func() error { return nil },
		},
		Verify: Verify{Sample: 5},
	}
	return w
}

// localHost is an old server that is this machine.
type localHost struct {
	shell string
	slots int
	// before is called before an rsync or a program runs.
	before func(program string)
	mu     sync.Mutex
	opened int
}

func (h *localHost) Target() string { return "root@old.example.org" }
func (h *localHost) Slots() int     { return h.slots }

func (h *localHost) Open(context.Context, int) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.opened++
	if h.before != nil {
		h.before("rsync")
	}
	return nil
}

func (h *localHost) RsyncShell(int) []string      { return []string{"-e", h.shell} }
func (h *localHost) RsyncPath(path string) string { return "old:" + path }

func (h *localHost) Stream(ctx context.Context, _ int, stdin io.Reader, program string, args ...string) (io.ReadCloser, error) {
	if h.before != nil {
		h.before(program)
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdin = stdin
	said := &complaints{}
	cmd.Stderr = said
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	return &localStream{cmd: cmd, out: out, said: said}, err
}

type localStream struct {
	cmd  *exec.Cmd
	out  io.Reader
	said *complaints
}

func (s *localStream) Read(p []byte) (int, error) {
	n, err := s.out.Read(p)
	if err == io.EOF {
		if waited := s.cmd.Wait(); waited != nil {
			err = fmt.Errorf("%w: %s", waited, s.said)
		}
	}
	return n, err
}

func (s *localStream) Close() error {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
	return nil
}

func (w *world) mkdir(p string) {
	w.t.Helper()
	if err := os.MkdirAll(p, 0o700); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) write(p, content string) {
	w.t.Helper()
	w.mkdir(filepath.Dir(p))
	if err := os.WriteFile(p, []byte(content), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// box is an account's mail on the old server.
type box struct {
	*world
	dir string
}

// box adds an account. store may leave the Maildir and the layout out.
func (w *world) box(address string, store Store) box {
	w.t.Helper()
	local, domain, _ := strings.Cut(address, "@")
	if store.Maildir == "" {
		store.Maildir = filepath.Join(w.old, domain, local, "Maildir")
	}
	if store.Layout == "" {
		store.Layout = "maildir++"
	}
	w.accounts = append(w.accounts, Account{Address: address, Store: store})
	b := box{w, store.Maildir}
	b.folder("")
	return b
}

// folder makes a folder by its directory.
func (b box) folder(dir string) {
	b.t.Helper()
	for _, sub := range []string{"cur", "new", "tmp"} {
		b.mkdir(filepath.Join(b.dir, dir, sub))
	}
}

// received is the date of the first message.
var received = time.Date(2019, 5, 1, 12, 0, 0, 0, time.UTC)

// message puts a message at a path below the Maildir. The content is by the number,
// and so is the size where the name states none.
func (b box) message(p string, n int) {
	b.t.Helper()
	p = filepath.Join(b.dir, p)
	size, stated := maildir.Message{Name: filepath.Base(p)}.StatedSize()
	head := fmt.Sprintf("Subject: %d\n\n", n)
	if !stated {
		size = int64(len(head) + n + 1)
	}
	b.write(p, head+strings.Repeat("x", int(size)-len(head)-1)+"\n")
	b.date(p, received.Add(time.Duration(n)*time.Hour))
}

func (b box) date(p string, when time.Time) {
	b.t.Helper()
	if err := os.Chtimes(p, when, when); err != nil {
		b.t.Fatal(err)
	}
}

// file puts another file below the Maildir.
func (b box) file(p, content string) { b.t.Helper(); b.write(filepath.Join(b.dir, p), content) }

func (b box) rename(from, to string) {
	b.t.Helper()
	if err := os.Rename(filepath.Join(b.dir, from), filepath.Join(b.dir, to)); err != nil {
		b.t.Fatal(err)
	}
}

func (b box) remove(p string) {
	b.t.Helper()
	if err := os.RemoveAll(filepath.Join(b.dir, p)); err != nil {
		b.t.Fatal(err)
	}
}

// fill gives a mailbox what an ordinary one has.
func (b box) fill() {
	b.t.Helper()
	for i := 1; i <= 5; i++ {
		b.message(fmt.Sprintf("cur/%d.M1P1.old,S=%d,W=%d:2,S", i, 15+i, 18+i), i)
	}
	b.message("new/6.M1P1.old,S=21,W=24", 6)
	b.file("dovecot-uidlist", "3 V1555555555 N9 G0123456789abcdef0123456789abcdef\n"+
		"1 :1.M1P1.old,S=16,W=19:2,S\n2 :2.M1P1.old,S=17,W=20\n3 W21 :3.M1P1.old,S=18,W=21\n4 :4.M1P1.old,S=19,W=22\n5 :5.M1P1.old,S=20,W=23\n8 :6.M1P1.old,S=21,W=24\n")
	b.file("dovecot-keywords", "0 $Forwarded\n1 Junk\n")
	b.file("dovecot-uidvalidity", "5cc98a9b")
	b.file("dovecot-uidvalidity.5cc98a9b", "")
	b.file("subscriptions", "V\t2\n\nSent\nArchive\t2019\n")
	b.file("dovecot.index.cache", "a cache")
	b.file("dovecot-uidlist.lock", "")
	b.file("tmp/half", "half a message")
	b.folder(".Sent")
	b.message(".Sent/cur/7.M1P1.old:2,Sab", 7)
	b.file(".Sent/dovecot-uidlist", "3 V1555555556 N2\n1 :7.M1P1.old\n")
	b.file(".Sent/dovecot-keywords", "0 work\n1 $MDNSent\n")
	b.file(".Sent/maildirfolder", "")
	b.folder(".Archive.2019")
	b.folder(".Entw&APw-rfe")
	b.message(".Entw&APw-rfe/cur/8.M1P1.old:2,DS", 8)
}

// open opens the migration.
func (w *world) open() *Migration {
	w.t.Helper()
	w.opts.Accounts = w.accounts
	m, err := Open(w.opts)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(m.Close)
	return m
}

// pass runs a pass that comes to its end.
func (w *world) pass(final bool) *Report {
	w.t.Helper()
	m := w.open()
	defer m.Close()
	r, err := m.Pass(w.t.Context(), final)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// mustPass runs a pass in which everything holds.
func (w *world) mustPass(final bool) *Report {
	w.t.Helper()
	r := w.pass(final)
	for _, m := range r.Mailboxes {
		if !m.OK() || len(m.Changing) > 0 {
			w.t.Errorf("%s: problem %q, differences %v, changing %v", m.Address, m.Problem, m.Differences, m.Changing)
		}
	}
	return r
}

// here is a path in an account's home on the new server.
func (w *world) here(address, p string) string {
	local, domain, _ := strings.Cut(address, "@")
	return filepath.Join(w.volume, "data", domain, local, p)
}

// files lists regular files and links below a directory, with their content.
func files(t *testing.T, root string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(root, p)
		if d.Type()&fs.ModeSymlink != 0 {
			target, err := os.Readlink(p)
			all[rel] = "-> " + target
			return err
		}
		content, err := os.ReadFile(p)
		all[rel] = string(content)
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return all
}

// mail is what of a Maildir is mail.
func mail(t *testing.T, root string) map[string]string {
	all := files(t, root)
	for p := range all {
		if strings.Contains(p, "dovecot.index") || strings.HasSuffix(p, ".lock") || strings.Contains(p, "tmp/") {
			delete(all, p)
		}
	}
	return all
}

// expectSame compares the Maildirs of an account.
func (b box) expectSame(address string) {
	b.t.Helper()
	if diff := cmp.Diff(mail(b.t, b.dir), files(b.t, b.here(address, "Maildir"))); diff != "" {
		b.t.Errorf("%s: there (-) and here (+):\n%s", address, diff)
	}
}

// kinds are the kinds of differences of a result.
func kinds(all []maildir.Difference) []string {
	var out []string
	for _, d := range all {
		out = append(out, strings.TrimPrefix(d.Folder+"/"+string(d.Kind), "/"))
	}
	slices.Sort(out)
	return out
}
