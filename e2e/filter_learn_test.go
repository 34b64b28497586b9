package e2e

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
)

// learns is how many messages of each kind Rspamd has to know before it judges by
// them (min_learns, as Debian has it).
const learns = 200

// What people move into Junk is learnt as spam, and out of it as none, once each,
// and kept; nothing about that can fail the move.
func TestLearning(t *testing.T) {
	t.Parallel()
	s := newStack(t, "")
	s.upGreen(t)
	user, password := s.account(t)
	c := s.imap(t, user, password)

	s.testMovesAreLearnt(t, c)
	s.testLearningIsNarrow(t, user, password)
	s.testMoveWithoutFilter(t, c)
	s.testLearntMattersAndStays(t, c)
}

// testMovesAreLearnt: a message counts where its owner has put it last.
func (s *Stack) testMovesAreLearnt(t *testing.T, c *imapclient.Client) {
	t.Helper()
	appendTo(t, c, "INBOX", "offer", phrases("spam"))
	for _, move := range []struct {
		from, to  string
		spam, ham int // known after it
	}{
		{"INBOX", "Junk", 1, 0},
		{"Junk", "INBOX", 0, 1},
		{"INBOX", "Archive", 0, 1},
		{"Archive", "Junk", 1, 0},
		{"Junk", "Trash", 1, 0},
		{"Trash", "Junk", 1, 0}, // learnt once only
		{"Junk", "Archive", 0, 1},
	} {
		moveAll(t, c, move.from, move.to)
		s.awaitLearnt(t, "from "+move.from+" to "+move.to, move.spam, move.ham)
	}
	// The second time it is known already; what is learnt after it shows that it has
	// been looked at.
	appendTo(t, c, "Archive", "again", phrases("ham"))
	moveAll(t, c, "Archive", "Junk")
	s.awaitLearnt(t, "two from Archive to Junk", 2, 0)
}

// awaitLearnt waits until Rspamd knows so many messages, by what Valkey keeps.
func (s *Stack) awaitLearnt(t *testing.T, after string, spam, ham int) {
	t.Helper()
	want := fmt.Sprintf("learns_spam %d, learns_ham %d", spam, ham)
	waitUntil(t, time.Minute, want+" after a move "+after, func() (bool, string) {
		got := fmt.Sprintf("learns_spam %s, learns_ham %s", s.learnt(t, "learns_spam"), s.learnt(t, "learns_ham"))
		return got == want, got
	})
}

func (s *Stack) learnt(t *testing.T, kind string) string {
	t.Helper()
	return cmp.Or(s.valkey(t, "HGET", "RS", kind), "0")
}

// valkey is what Valkey answers to a command, or else what went wrong.
func (s *Stack) valkey(t *testing.T, command ...string) string {
	t.Helper()
	// The password goes by the environment of the program, which is the test's own.
	r := tryDocker(t, append([]string{
		"exec", "-e", "REDISCLI_AUTH=" + s.secret(t, "valkey"), s.container("valkey"),
		"valkey-cli", "-s", "/socket/valkey/valkey.sock",
	}, command...)...)
	if r.code != 0 {
		return r.String()
	}
	return strings.TrimSpace(r.stdout)
}

// testLearningIsNarrow: who is in Dovecot's container as a session is can have
// messages learnt, and nothing else of the filter; nobody's script can. The controller,
// which can do more, is in the filter's own container only.
func (s *Stack) testLearningIsNarrow(t *testing.T, user, password string) {
	t.Helper()
	connect := func(service, uid, socket string) string {
		r := tryDocker(t, "exec", "-u", uid, s.container(service), "perl", "-MSocket", "-e",
			`socket my $s, AF_UNIX, SOCK_STREAM, 0; print connect($s, pack_sockaddr_un($ARGV[0])) ? "ok" : "$!"`, socket)
		return r.stdout + r.stderr
	}
	const learn, milter, controller = "/socket/filter/learn", "/socket/filter/milter", "/run/rspamd/controller"
	for _, test := range []struct{ service, uid, socket, want string }{
		{"dovecot", "5302:5302", learn, "ok"},
		{"dovecot", "5302:5302", milter, "Permission denied"},
		{"dovecot", "5303:5303", milter, "Permission denied"},
		{"dovecot", "0:0", milter, "Permission denied"},
		{"postfix", "5305:5305", milter, "ok"},
		{"postfix", "5305:5305", learn, "Permission denied"},
		{"dovecot", "0:0", controller, "No such file or directory"},
		{"postfix", "0:0", controller, "No such file or directory"},
		{"filter", "5307:5307", controller, "ok"},
	} {
		if got := connect(test.service, test.uid, test.socket); got != test.want {
			t.Errorf("%s, as %s, to %s: %s", test.service, test.uid, test.socket, got)
		}
	}
	if r := tryDocker(t, "exec", "-u", "5307:5307", s.container("filter"), "stat", "-c", "%F %a %u:%g", controller); r.stdout != "socket 600 5307:5307\n" {
		t.Errorf("the controller's socket is %q", r.stdout+r.stderr)
	}
	d, err := s.sieveLogin(t, user, password)
	if err != nil {
		t.Fatal(err)
	}
	script := `require "vnd.dovecot.pipe"; pipe "learn" ["ham"];`
	d.expect(t, fmt.Sprintf("PUTSCRIPT \"test\" {%d+}\r\n%s", len(script), script), "NO")

	// What is no dialogue at all is turned away, and the next one served.
	for _, rubbish := range []string{"", "GET /stat HTTP/1.1\r\n\r\n", "VERSION\tscript\t4\t0\n-\nfuzzydelhash\n\n"} {
		out := tryDocker(t, "exec", "-u", "5302:5302", s.container("dovecot"), "perl", "-MSocket", "-e",
			`socket my $s, AF_UNIX, SOCK_STREAM, 0; connect($s, pack_sockaddr_un("/socket/filter/learn")) or die $!;
			syswrite $s, $ARGV[0]; shutdown $s, 1; alarm 20; sysread $s, my $answer, 100; print "[$answer]"`, rubbish)
		if out.stdout != "[]" {
			t.Errorf("%q is answered with %v", rubbish, out)
		}
	}
}

// testMoveWithoutFilter: a filter that is gone, and one that hangs, keep nobody from
// moving messages.
func (s *Stack) testMoveWithoutFilter(t *testing.T, c *imapclient.Client) {
	t.Helper()
	for _, away := range [][2]string{{"stop", "start"}, {"pause", "unpause"}} {
		mailbox := "a filter after docker " + away[0]
		if err := c.Create(mailbox, nil).Wait(); err != nil {
			t.Fatal(err)
		}
		for range 20 {
			appendTo(t, c, mailbox, "moved", phrases("spam"))
		}
		before := count(t, c, "Junk")
		docker(t, away[0], s.container("filter"))
		began := time.Now()
		moveAll(t, c, mailbox, "Junk")
		took := time.Since(began)
		docker(t, away[1], s.container("filter"))
		// Three wait for two seconds each.
		if took > 15*time.Second {
			t.Errorf("to move 20 messages from %s took %v", mailbox, took)
		}
		if n := count(t, c, "Junk"); n != before+20 {
			t.Errorf("after the move from %s there are %d messages in Junk, and were %d", mailbox, n, before)
		}
	}
	s.ready(t, "filter")
}

// testLearntMattersAndStays: once enough is known, messages are judged by it, also
// after all of the filter has been killed.
func (s *Stack) testLearntMattersAndStays(t *testing.T, c *imapclient.Client) {
	t.Helper()
	known := func(kind string) (n int) {
		if _, err := fmt.Sscan(s.learnt(t, "learns_"+kind), &n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if err := c.Create("Many", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	moveAll(t, c, "Junk", "Trash")
	for _, m := range [][3]string{{"spam", "Many", "Junk"}, {"ham", "Junk", "Many"}} {
		kind, from, to := m[0], m[1], m[2]
		if kind == "ham" {
			moveAll(t, c, "Junk", "Trash")
		}
		for range learns + 10 {
			appendTo(t, c, from, "many", phrases(kind))
		}
		moveAll(t, c, from, to)
		waitUntil(t, 3*time.Minute, "enough "+kind+" is learnt", func() (bool, string) {
			n := known(kind)
			return n >= learns, fmt.Sprint(n)
		})
	}
	docker(t, "kill", s.container("filter"), s.container("valkey"))
	s.tearMemory(t)
	docker(t, "start", s.container("valkey"), s.container("filter"))
	s.ready(t, "valkey")
	s.ready(t, "filter")
	if spam, ham := known("spam"), known("ham"); spam < learns || ham < learns {
		t.Errorf("after a kill %d and %d messages are known", spam, ham)
	}
	for kind, symbol := range map[string]string{"spam": "BAYES_SPAM", "ham": "BAYES_HAM"} {
		m := message(stranger, "y@"+s.hostname(), "unseen", phrases(kind))
		waitUntil(t, time.Minute, "a message like "+kind+" is known for one", func() (bool, string) {
			got := s.judged(t, m, "127.0.0.1", stranger, "y@"+s.hostname())
			return strings.Contains(got, "Symbol: "+symbol+" ("), got
		})
	}
}

// tearMemory leaves what the filter remembers as a power cut may: with zeros behind
// what was written last.
func (s *Stack) tearMemory(t *testing.T) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(s.layout().Content("valkey"), "appendonlydir", "*.incr.aof"))
	if err != nil || len(files) != 1 {
		t.Fatalf("files of valkey: %q %v", files, err)
	}
	file, err := os.OpenFile(files[0], os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.Write(make([]byte, 344)); errors.Join(err, file.Close()) != nil {
		t.Fatal(err)
	}
}

// phrases is a text of a kind, never twice the same.
func phrases(kind string) string {
	text := []string{"Nr. " + randomHex(8) + "."}
	for range 12 {
		n := rand.IntN(30)
		text = append(text, fmt.Sprintf("The %s%dne of %s%dty is a %s%dful thing.", kind, n, kind, n+1, kind, n+2))
	}
	return strings.Join(text, "\n")
}

// appendTo puts a message into a mailbox as a mail program does, which nobody learns
// from.
func appendTo(t *testing.T, c *imapclient.Client, mailbox, subject, body string) {
	t.Helper()
	m := message(stranger, stranger, subject, body)
	cmd := c.Append(mailbox, int64(len(m)), nil)
	if _, err := cmd.Write([]byte(m)); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := cmd.Wait(); err != nil {
		t.Fatalf("append to %s: %v", mailbox, err)
	}
}

// moveAll moves all messages of a mailbox.
func moveAll(t *testing.T, c *imapclient.Client, from, to string) {
	t.Helper()
	if _, err := c.Select(from, nil).Wait(); err != nil {
		t.Fatal(err)
	}
	all := imap.SeqSet{}
	all.AddRange(1, 0)
	if _, err := c.Move(all, to).Wait(); err != nil {
		t.Fatalf("move from %s to %s: %v", from, to, err)
	}
}

// count is the number of messages in a mailbox.
func count(t *testing.T, c *imapclient.Client, mailbox string) uint32 {
	t.Helper()
	data, err := c.Status(mailbox, &imap.StatusOptions{NumMessages: true}).Wait()
	if err != nil {
		t.Fatal(err)
	}
	return *data.NumMessages
}
