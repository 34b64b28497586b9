package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"

	"mailstack/accounts"
	"mailstack/config"
	"mailstack/stack"
)

// answer is what became of a login: "taken", "wrong" (password), "later" (a
// temporary refusal), or what nobody should see.
func answer(session io.Closer, err error) string {
	var refused *imap.Error
	switch {
	case err == nil:
		session.Close()
		return "taken"
	case errors.As(err, &refused) && refused.Code == imap.ResponseCodeAuthenticationFailed,
		strings.HasPrefix(err.Error(), "-ERR [AUTH]"), smtpCode(err) == 535,
		strings.HasPrefix(err.Error(), "NO") && strings.Contains(err.Error(), "Authentication failed"):
		return "wrong"
	case errors.As(err, &refused) && refused.Code == imap.ResponseCodeUnavailable,
		strings.HasPrefix(err.Error(), "-ERR [SYS/TEMP]"), smtpCode(err) == 454,
		strings.HasPrefix(err.Error(), "NO") && strings.Contains(err.Error(), "Temporary"):
		return "later"
	}
	return err.Error()
}

// ways are the logins of all protocols.
func (s *Stack) ways(t *testing.T, user, password string) map[string]func() string {
	return map[string]func() string{
		"imap": func() string { c, err := s.imapLogin(t, user, password); return answer(c, err) },
		"pop3": func() string { d, err := s.pop3Login(t, user, password); return answer(d.conn, err) },
		"managesieve": func() string {
			d, err := s.sieveLogin(t, user, password)
			return answer(d.conn, err)
		},
		"submission": func() string { c, err := s.smtpLogin(t, user, password); return answer(c, err) },
	}
}

// everywhere logs in by all protocols, one after the other, and wants one answer.
// One that is "wrong" is "later" where it takes too long to find out.
func (s *Stack) everywhere(t *testing.T, what, user, password, want string) {
	t.Helper()
	for protocol, login := range s.ways(t, user, password) {
		began := time.Now()
		got := login()
		for try := 0; want == "wrong" && got == "later" && try < 3; try++ {
			got = login()
		}
		if got != want {
			t.Errorf("%s: %s by %s: %s, want %s", what, user, protocol, got, want)
		}
		t.Logf("%s: %s took %v", what, protocol, time.Since(began).Round(time.Millisecond))
	}
}

// guess tries a number of passwords, each another, by all protocols in turn and
// several at a time, and counts the answers.
func (s *Stack) guess(t *testing.T, user string, number int) map[string]int {
	t.Helper()
	s.caPEM(t)
	counts, lock := map[string]int{}, sync.Mutex{}
	together(8, func(worker int) {
		for i := worker; i < number; i += 8 {
			ways := s.ways(t, user, fmt.Sprintf("guess-%d-%s", i, randomHex(4)))
			got := ways[[]string{"imap", "pop3", "managesieve", "submission"}[i/8%4]]()
			lock.Lock()
			counts[got]++
			lock.Unlock()
		}
	})
	return counts
}

// heldBack is what status says, by name.
func (s *Stack) heldBack(t *testing.T) map[string]stack.HeldBack {
	t.Helper()
	var status struct {
		HeldBack []stack.HeldBack `json:"held_back"`
	}
	if err := json.Unmarshal([]byte(s.mustRun(t, "status", "--format", "json")), &status); err != nil {
		t.Fatal(err)
	}
	held := map[string]stack.HeldBack{}
	for _, h := range status.HeldBack {
		held[h.Name()] = h
	}
	return held
}

// waitHeldBack waits until a name is held back: what is tried and takes too long is
// answered before it is counted.
func (s *Stack) waitHeldBack(t *testing.T, name string) (h stack.HeldBack) {
	t.Helper()
	waitUntil(t, time.Minute, name+" is held back", func() (bool, string) {
		held := s.heldBack(t)
		h = held[name]
		return h.Name() == name, fmt.Sprint(held)
	})
	return h
}

// limit is how many wrong passwords are tried.
var limit = config.Default().Limits.WrongPasswords

// TestGuessing: of the passwords that are guessed at one account, by whatever
// protocol, only so many are tried. Meanwhile its owner comes in with the right one
// as ever, by new sessions and by the open ones; so does everybody else who has the
// same address, the gateway's, and so does the probe. status shows whom it concerns,
// and unban ends it.
func TestGuessing(t *testing.T) {
	t.Parallel()
	s := shared(t)
	alice, password := s.account(t)
	bob, bobs := s.account(t)
	s.everywhere(t, "before", alice, password, "taken")
	open := s.open(t, alice, password)

	guessed := make(chan map[string]int, 1)
	go func() { guessed <- s.guess(t, alice, 8*limit) }()
	waitUntil(t, time.Minute, "the account is held back", func() (bool, string) {
		held := s.heldBack(t)
		return held[alice].Refused > 0, fmt.Sprint(held)
	})
	s.everywhere(t, "guessed at", alice, password, "taken")
	if err := open.imap.Noop().Wait(); err != nil {
		t.Errorf("IMAP session: %v", err)
	}
	open.pop3.expect(t, "NOOP", "+OK")
	if err := open.send(); err != nil {
		t.Errorf("submission session: %v", err)
	}
	s.everywhere(t, "of the same address", bob, bobs, "taken")
	s.everywhere(t, "of the same address", bob, "typo", "wrong")
	if red := s.probe(t, "--timeout", "60s", "--only", "imap,pop3,managesieve,submission,refusal").red(); len(red) > 0 {
		t.Errorf("the probe says %v", red)
	}
	// Some that are tried answer too late on a busy machine, which is "later" too.
	counts := <-guessed
	if counts["wrong"] < limit/2 || counts["wrong"] > limit+2 || counts["wrong"]+counts["later"] != 8*limit {
		t.Errorf("of %d guesses %v, want %d wrong and the rest later", 8*limit, counts, limit)
	}

	h := s.heldBack(t)[alice]
	if h.Account != alice || time.Until(h.Until) < 20*time.Minute || time.Since(h.Since) > 10*time.Minute {
		t.Errorf("status says %+v", h)
	}
	if text := s.mustRun(t, "status"); !strings.Contains(text, "held back    "+alice+" since ") {
		t.Errorf("status:\n%s", text)
	}
	s.mustRun(t, "unban", alice)
	if h, is := s.heldBack(t)[alice]; is {
		t.Errorf("after unban status says %+v", h)
	}
	if counts := s.guess(t, alice, 4); counts["wrong"] == 0 {
		t.Errorf("after unban guesses are %v", counts)
	}
	together(8, func(i int) { // each gets its own answer
		if i%2 == 0 {
			if r := s.run(t, "status"); strings.Contains(r.stdout+r.stderr, "who is held back") {
				t.Errorf("status beside unban: %v", r)
			}
			return
		}
		s.refuse(t, 1, []string{"unban " + bob + ": it is not held back"}, "unban", bob)
	})
	s.refuse(t, 1, []string{"not held back"}, "unban", alice)
	s.refuse(t, 2, []string{"not an account or an IP address"}, "unban", "alice")
	s.refuse(t, 2, []string{"--all"}, "unban")
}

// TestRightPasswordOfAnAccountHeldBack: an owner who has not signed in before, or
// whose password is new, is told to try again, and gets in when he does.
func TestRightPasswordOfAnAccountHeldBack(t *testing.T) {
	t.Parallel()
	s := shared(t)
	user, password := s.account(t)
	s.guess(t, user, limit+8)
	login := s.ways(t, user, password)["imap"]
	began := time.Now()
	waitUntil(t, 30*time.Second, "the right password is taken", func() (bool, string) {
		got := login()
		if got == "wrong" {
			t.Error("the right password is called wrong")
		}
		return got == "taken", got
	})
	t.Logf("after %v", time.Since(began).Round(time.Millisecond))
	s.everywhere(t, "then", user, password, "taken")

	fresh := "pw-" + randomHex(8)
	if r := s.runInput(t, fresh+"\n", "account", "passwd", user, "--password-stdin"); r.code != 0 {
		t.Fatalf("account passwd: %v", r)
	}
	if h, is := s.heldBack(t)[user]; is {
		t.Errorf("with a new password still %+v", h)
	}
	s.everywhere(t, "new password", user, fresh, "taken")
}

// TestSameWrongPassword: yesterday's password, however often a telephone tries it,
// keeps nobody out; nor does what a hundred runs of the probe try.
func TestSameWrongPassword(t *testing.T) {
	t.Parallel()
	s := shared(t)
	user, password := s.account(t)
	s.caPEM(t)
	together(25, func(int) {
		for range 4 {
			if got := s.ways(t, user, "yesterday")["imap"](); got != "wrong" {
				t.Errorf("a wrong password: %s", got)
			}
			probe := accounts.ProbeLocal + "@" + s.hostname()
			if got := s.ways(t, probe, "guess-"+randomHex(4))["imap"](); got != "wrong" {
				t.Errorf("a wrong password of the probe: %s", got)
			}
		}
	})
	held := s.heldBack(t)
	if _, is := held[user]; is {
		t.Errorf("held back: %v", held)
	}
	s.everywhere(t, "afterwards", user, password, "taken")
	if red := s.probe(t, "--timeout", "60s", "--only", "imap,pop3,managesieve,submission,refusal").red(); len(red) > 0 {
		t.Errorf("the probe says %v", red)
	}
}
