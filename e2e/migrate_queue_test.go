package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"mailstack/e2e/oldhost"
)

// TestMigrateQueue: what waits in the old server's queue when its use ends arrives
// here once: it is delivered there while that lasts, or carried over from a queue
// at rest, of which nothing is changed.
func TestMigrateQueue(t *testing.T) {
	t.Parallel()
	old, s := oldHost(t, oldhost.Options{Kind: oldhost.PostfixAdmin}), newSmallStack(t)
	s.up(t, "--no-probe")
	args := append(moveFrom(old), "--allow-weak-hashes")
	s.mustRun(t, args...)
	args = append(args, "--final", "--freeze-command")
	ken, bob, alice, grace := old.Account("ken@xn--mnchen-3ya.example"), old.Account("bob@example.org"), old.Account("alice@example.org"), old.Account("grace@example.net")
	old.Exec(t, "sh", "-c", "postconf -e virtual_transport=retry:later default_transport=retry:later && service postfix reload")

	queued(t, old, "drained", ken.Address)
	release := "postconf -e virtual_transport=lmtp:unix:private/dovecot-lmtp && service postfix reload && postqueue -f"
	r := s.run(t, append(args, "(sleep 2; "+release+") >/dev/null 2>&1 </dev/null &", "--only", ken.Address)...)
	if r.code != 0 || !strings.Contains(r.stderr, "holds 1 message for the accounts, 0 for others\n") ||
		!strings.Contains(r.stderr, "holds 0 messages for the accounts, 0 for others\n") || strings.Contains(r.stdout, "carried over") {
		t.Fatalf("a queue that empties: %v", r)
	}
	if n := s.count(t, ken.Address, ken.Password, "drained"); n != 1 {
		t.Errorf("what was delivered there is here %d times", n)
	}

	old.Exec(t, "sh", "-c", "postconf -e virtual_transport=retry:later && service postfix reload")
	queued(t, old, "stuck", bob.Address)               // forwards to alice as well
	queued(t, old, "with others", "mixed@example.net") // grace, and somebody elsewhere
	queued(t, old, "not ours", "sales@example.org")    // somebody elsewhere
	s.refuseMove(t, []string{"still holds 2 messages for the accounts being moved, and its Postfix runs", "stop Postfix there too"},
		append(args, "true", "--queue-wait", "2s")...)
	if err := s.inbound(t, stranger, []string{bob.Address}, message(stranger, bob.Address, "x", "x")); smtpCode(err)/100 != 4 {
		t.Errorf("mail for who was not moved: %v, want 4xx", err)
	}

	// The first attempt to carry it over goes wrong, as connections do.
	old.Exec(t, "sh", "-c", stopOld+"; mv /usr/sbin/postcat /usr/sbin/postcat.away")
	before := spooled(t, old)
	args = append(args, stopOld)
	s.refuseMove(t, []string{"not all of the old server's queue could be carried over", "run the same command again"}, args...)
	s.imap(t, bob.Address, bob.Password) // open all the same
	old.Exec(t, "mv", "/usr/sbin/postcat.away", "/usr/sbin/postcat")
	r = s.run(t, append(args, "--format", "json")...)
	var report struct {
		Carried, Left []struct{ Recipient string }
	}
	if err := json.Unmarshal([]byte(r.stdout), &report); err != nil || r.code != 0 {
		t.Fatalf("the second attempt: %v (%v)", r, err)
	}
	var carried, left []string
	for _, d := range report.Carried {
		carried = append(carried, d.Recipient)
	}
	for _, d := range report.Left {
		left = append(left, d.Recipient)
	}
	slices.Sort(carried)
	slices.Sort(left)
	if want := []string{alice.Address, bob.Address, grace.Address}; !slices.Equal(carried, want) {
		t.Errorf("carried over for %q, want %q", carried, want)
	}
	if want := []string{"grace@elsewhere.example", "sales@elsewhere.example"}; !slices.Equal(left, want) {
		t.Errorf("left for %q, want %q", left, want)
	}
	s.refuseMove(t, []string{"in use here already"}, args...)
	for _, letter := range []struct {
		to      oldhost.Account
		subject string
	}{{bob, "stuck"}, {alice, "stuck"}, {grace, "with others"}} {
		s.waitMail(t, letter.to.Address, letter.to.Password, "INBOX", letter.subject)
		if n := s.count(t, letter.to.Address, letter.to.Password, letter.subject); n != 1 {
			t.Errorf("%s has %q %d times", letter.to.Address, letter.subject, n)
		}
	}
	if after := spooled(t, old); after != before || strings.Count(before, "\n") != 3 {
		t.Errorf("the old server's queue was\n%sand is\n%s", before, after)
	}
}

// refuseMove is a run of migrate that does not come to a good end.
func (s *Stack) refuseMove(t *testing.T, words []string, args ...string) {
	t.Helper()
	r := s.run(t, args...)
	if r.code != 1 {
		t.Errorf("not refused: %v", r)
	}
	for _, word := range words {
		if !strings.Contains(r.stderr, word) {
			t.Errorf("the refusal does not say %q: %v", word, r)
		}
	}
}

// queued sends a message that the old host does not get rid of.
func queued(t *testing.T, old *oldhost.Host, subject, to string) {
	t.Helper()
	before := strings.Count(spooled(t, old), "/deferred/")
	if err := old.Send(t.Context(), to, subject); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, 30*time.Second, fmt.Sprintf("%q in the queue", subject), func() (bool, string) {
		seen := spooled(t, old)
		return strings.Count(seen, "/deferred/") == before+1 && strings.Count(seen, "\n") == before+1, seen
	})
}

// spooled is every file of the old host's queue.
func spooled(t *testing.T, old *oldhost.Host) string {
	t.Helper()
	return old.Exec(t, "sh", "-c", "cd /var/spool/postfix && find active corrupt deferred hold incoming maildrop -type f -printf '/%p %i %s %m %T@\n' | sort")
}
