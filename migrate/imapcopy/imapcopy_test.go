package imapcopy

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"
	"github.com/emersion/go-imap/v2/imapserver/imapmemserver"
	"github.com/google/go-cmp/cmp"
)

// end is an in-process IMAP server with one user.
type end struct {
	*imapmemserver.User
	login Login
}

// newEnd starts one. allow is how many octets each next connection may carry to
// the client before it breaks; 0 or less: any number.
func newEnd(t *testing.T, allow *atomic.Int64) *end {
	t.Helper()
	web := httptest.NewTLSServer(nil) // for its certificate, which is example.com's
	t.Cleanup(web.Close)
	user := imapmemserver.NewUser("u", "right")
	users := imapmemserver.New()
	users.AddUser(user)
	server := imapserver.New(&imapserver.Options{
		NewSession: func(*imapserver.Conn) (imapserver.Session, *imapserver.GreetingData, error) {
			return users.NewSession(), nil, nil
		},
		Caps:      imap.CapSet{imap.CapIMAP4rev2: {}, imap.CapIMAP4rev1: {}},
		Logger:    log.New(io.Discard, "", 0),
		TLSConfig: &tls.Config{Certificates: web.TLS.Certificates},
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(breaking{l, allow}) }()
	t.Cleanup(func() { _ = server.Close() })
	roots := web.Certificate()
	config := &tls.Config{ServerName: "example.com", RootCAs: poolOf(roots)}
	return &end{user, Login{Server{Address: l.Addr().String(), TLS: config, StartTLS: true}, "u", "right"}}
}

func (e *end) make(t *testing.T, folders ...string) {
	t.Helper()
	for _, name := range folders {
		if err := e.Create(name, nil); err != nil {
			t.Fatal(err)
		}
	}
}

var day = time.Date(2019, 5, 4, 3, 2, 1, 0, time.UTC)

// put delivers a message.
func (e *end) put(t *testing.T, folder, text string, flags ...imap.Flag) {
	t.Helper()
	text = strings.ReplaceAll(text, "\n", "\r\n")
	if _, err := e.Append(folder, literal{strings.NewReader(text), int64(len(text))}, &imap.AppendOptions{Time: day, Flags: flags}); err != nil {
		t.Fatal(err)
	}
}

type literal struct {
	io.Reader
	size int64
}

func (l literal) Size() int64 { return l.size }

// content lists what a server holds, one line a message, in no order of its own.
func (e *end) content(t *testing.T) []string {
	t.Helper()
	var p pulse
	s, err := connect(t.Context(), e.login, &p)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	folders, _, err := s.folders()
	if err != nil {
		t.Fatal(err)
	}
	lines := []string{}
	for _, f := range folders {
		lines = append(lines, fmt.Sprintf("%s subscribed=%v", f.path, f.subscribed))
		if _, err := s.Select(f.name, nil).Wait(); err != nil {
			t.Fatal(err)
		}
		fetch := s.Fetch(imap.UIDSet{imap.UIDRange{Start: 1}}, &imap.FetchOptions{
			UID: true, Flags: true, InternalDate: true, BodySection: []*imap.FetchItemBodySection{{Peek: true}},
		})
		s.answer.left.Store(1 << 40) // whole messages are collected
		list, err := fetch.Collect()
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range list {
			body := m.BodySection[0].Bytes
			lines = append(lines, fmt.Sprintf("%s %s %v %.60q %x", f.path, m.InternalDate.UTC().Format(time.RFC3339), kept(m.Flags), body, sha256.Sum256(body)))
		}
	}
	slices.Sort(lines)
	return lines
}

func same(t *testing.T, from, to *end) {
	t.Helper()
	if diff := cmp.Diff(from.content(t), to.content(t)); diff != "" {
		t.Errorf("the copy is different (-original +copy):\n%s", diff)
	}
}

func mustCopy(t *testing.T, from, to *end, o Options) Result {
	t.Helper()
	r, err := Copy(t.Context(), User{"u@example.org", from.login, to.login}, o)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Different) > 0 {
		t.Errorf("differences: %q", r.Different)
	}
	return r
}

// oldServer has a mailbox with everything that has once gone wrong.
func oldServer(t *testing.T, allow *atomic.Int64) *end {
	from := newEnd(t, allow)
	from.make(t, "INBOX", "Sent", "Projekte", "Projekte/Größe & Maß")
	if err := from.Subscribe("Projekte"); err != nil {
		t.Fatal(err)
	}
	for i := range 250 {
		from.put(t, "INBOX", fmt.Sprintf("Message-ID: <%d@x>\nSubject: %d\n\nbody %d\n", i, i, i), imap.FlagSeen)
	}
	from.put(t, "INBOX", "Subject: twins\n\none\n")
	from.put(t, "INBOX", "Subject: twins\n\none\n")
	from.put(t, "INBOX", "Subject: twins\n\nanother, longer\n", imap.FlagFlagged)
	from.put(t, "Sent", "")
	from.put(t, "Projekte/Größe & Maß", "Message-ID: <big@x>\n\n"+strings.Repeat("many words\n", 1<<20), imap.FlagAnswered, "$label1", "Wichtig")
	return from
}

func TestCopy(t *testing.T) {
	from, to := oldServer(t, nil), newEnd(t, nil)
	to.make(t, "INBOX")
	var last Event
	r := mustCopy(t, from, to, Options{Progress: func(e Event) { last = e }})
	same(t, from, to)
	if r.Messages != 255 || r.Copied != 255 || r.Folders != 4 {
		t.Errorf("%+v", r)
	}
	if last.Messages != 255 || last.Total != 255 || last.Bytes != last.TotalBytes || last.Bytes < 1<<20 {
		t.Errorf("the last progress is %+v", last)
	}
	again := mustCopy(t, from, to, Options{})
	same(t, from, to)
	if again.Copied != 0 || again.Flagged != 0 || again.Removed != 0 {
		t.Errorf("a repetition did something: %+v", again)
	}
}

// TestOtherText: a message with the header and the date of another is not its copy.
func TestOtherText(t *testing.T) {
	from, to := newEnd(t, nil), newEnd(t, nil)
	from.make(t, "INBOX")
	to.make(t, "INBOX")
	for i := range 300 {
		header := fmt.Sprintf("Message-ID: <%d@x>\nSubject: %d\n\n", i, i)
		from.put(t, "INBOX", header+"as it was\n")
		if i == 7 {
			to.put(t, "INBOX", header+"as it isnt\n") // of another size
		}
		if i == 250 {
			to.put(t, "INBOX", header+"as it WAS\n")
		}
	}
	copied := func(sample int) Result {
		t.Helper()
		r, err := Copy(t.Context(), User{"u@example.org", from.login, to.login}, Options{Sample: sample})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if r := copied(0); len(r.Different) > 0 || r.Compared != 0 || r.Copied != 298 {
		t.Errorf("nothing was to be compared: %+v", r)
	}
	want := []string{
		`folder "INBOX": message with UID 251 has another text here`,
		`folder "INBOX": message with UID 8 has another text here`,
	}
	r := copied(-1)
	slices.Sort(r.Different)
	if diff := cmp.Diff(want, r.Different); diff != "" || r.Compared != 300 {
		t.Errorf("%d compared:\n%s", r.Compared, diff)
	}
	if r := copied(20); r.Compared != 20 {
		t.Errorf("a sample of 20 is %d", r.Compared)
	}
}

// What happens on the old server between two passes.
func TestNextPass(t *testing.T) {
	from, to := oldServer(t, nil), newEnd(t, nil)
	to.make(t, "INBOX")
	mustCopy(t, from, to, Options{})
	from.put(t, "INBOX", "Subject: twins\n\none\n") // a third one
	from.put(t, "Sent", "Subject: new\n\n\n")
	change := func(e *end, folder string, do func(s *session) error) {
		t.Helper()
		var p pulse
		s, err := connect(t.Context(), e.login, &p)
		if err != nil {
			t.Fatal(err)
		}
		defer s.close()
		if _, err := s.Select(folder, nil).Wait(); err != nil {
			t.Fatal(err)
		}
		if err := do(s); err != nil {
			t.Fatal(err)
		}
	}
	change(from, "INBOX", func(s *session) error {
		add := &imap.StoreFlags{Op: imap.StoreFlagsSet, Silent: true, Flags: []imap.Flag{imap.FlagFlagged, "later"}}
		if err := s.Store(imap.UIDSetNum(3), add, nil).Close(); err != nil {
			return err
		}
		gone := &imap.StoreFlags{Op: imap.StoreFlagsAdd, Silent: true, Flags: []imap.Flag{imap.FlagDeleted}}
		if err := s.Store(imap.UIDSetNum(5, 6, 7), gone, nil).Close(); err != nil {
			return err
		}
		return s.Expunge().Close()
	})

	r := mustCopy(t, from, to, Options{})
	if r.Copied != 2 || r.Flagged != 1 || r.Removed != 0 {
		t.Errorf("%+v", r)
	}
	for _, limit := range []int{2, -1} {
		var many *TooManyError
		o := Options{Remove: true, MaxRemove: limit}
		if _, err := Copy(t.Context(), User{"u@example.org", from.login, to.login}, o); !errors.As(err, &many) || *many != (TooManyError{3, max(limit, 0)}) {
			t.Errorf("removing three where %d may go: %v", limit, err)
		}
	}
	r = mustCopy(t, from, to, Options{Remove: true, MaxRemove: 3})
	if r.Removed != 3 {
		t.Errorf("%+v", r)
	}
	same(t, from, to)
}

// A connection that breaks anywhere costs time and nothing else.
func TestBrokenConnection(t *testing.T) {
	var allow atomic.Int64
	from, to := oldServer(t, &allow), newEnd(t, nil)
	to.make(t, "INBOX")
	broke := 0
	for octets := int64(3000); ; octets = octets * 5 / 4 {
		allow.Store(octets)
		r, err := Copy(t.Context(), User{"u@example.org", from.login, to.login}, Options{})
		if err == nil {
			if len(r.Different) > 0 {
				t.Errorf("%q", r.Different)
			}
			break
		}
		if broke++; broke > 100 {
			t.Fatal(err)
		}
	}
	if broke < 10 {
		t.Errorf("it broke %d times only: this proves nothing", broke)
	}
	allow.Store(0)
	same(t, from, to)
}

func TestWrongPassword(t *testing.T) {
	from, to := newEnd(t, nil), newEnd(t, nil)
	from.make(t, "INBOX")
	from.login.Password = "wrong"
	_, err := Copy(t.Context(), User{"u@example.org", from.login, to.login}, Options{})
	var refused *LoginError
	if !errors.As(err, &refused) || refused.Temporary || refused.Hint() == "" {
		t.Errorf("%v", err)
	}
}

// A server that falls silent is left after a while.
func TestSilence(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	to := newEnd(t, nil)
	from := to.login
	from.Server.Address = l.Addr().String()
	_, err = Copy(t.Context(), User{"u@example.org", from, to.login}, Options{Silence: 50 * time.Millisecond})
	var silent *SilenceError
	if !errors.As(err, &silent) {
		t.Errorf("%v", err)
	}
}

func TestPlainPath(t *testing.T) {
	for _, test := range []struct {
		name, prefix string
		delim        rune
		want         string
	}{
		{"inbox", "", '/', "INBOX"},
		{"Sent", "", '/', "Sent"},
		{"INBOX.Sent.2019", "INBOX.", '.', "Sent/2019"},
		{"INBOX.a/b.c", "INBOX.", '.', "a_b/c"},
		{"Archive.2019", "", '.', "Archive/2019"},
		{"flat", "", 0, "flat"},
	} {
		if got := plainPath(test.name, test.prefix, test.delim); got != test.want {
			t.Errorf("%q with prefix %q and delimiter %q: %q, want %q", test.name, test.prefix, test.delim, got, test.want)
		}
	}
}

func TestSecretsHide(t *testing.T) {
	l := Login{User: "u", Password: "hunter2"}
	text, err := json.Marshal(l.Password)
	if err != nil {
		t.Fatal(err)
	}
	if all := fmt.Sprintf("%v %+v %#v %s", l, l, l, text); strings.Contains(all, "hunter2") {
		t.Error(all)
	}
}

// TestLimit: people delete a hundred messages, or a tenth of many. More is a server
// that does not show all it had.
func TestLimit(t *testing.T) {
	for _, test := range []struct{ kept, removing, max, want int }{
		{0, 101, 0, 100},
		{900, 100, 0, 100},
		{4500, 500, 0, 500},
		{4499, 501, 0, 500},
		{5000, 1, 7, 7},
		{5000, 1, -1, 0},
	} {
		c := &copying{event: Event{Total: test.kept}, removing: test.removing, options: Options{MaxRemove: test.max}}
		if got := c.limit(); got != test.want {
			t.Errorf("%+v: %d", test, got)
		}
	}
}
