package e2e

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// mx is another name of a stack's host, for others that look for its server. What the
// host itself is called Docker answers to its neighbours, of whatever the DNS says, and
// unsigned: in no network of Docker's can that name be looked up by DANE.
func (one *neighbour) mx() string { return "mx." + one.domain }

// renamed has the records of a stack say the same of its other name.
func (one *neighbour) renamed(line string) string {
	other := strings.ReplaceAll(line, "mail."+one.domain+".", one.mx()+".")
	switch {
	case strings.Contains(line, "\tMX\t"):
		return other
	case strings.Contains(line, "\tA\t"), strings.Contains(line, "\tTLSA\t"):
		return line + other
	}
	return line
}

// connectionsTo are the levels of trust, as Postfix names them ("Verified", "Untrusted"),
// of the TLS connections that it has opened to another stack.
func (one *neighbour) connectionsTo(t *testing.T, other *neighbour) (levels []string) {
	t.Helper()
	line := regexp.MustCompile(`(\w+) TLS connection established to ` + regexp.QuoteMeta(other.mx()+"["+other.address+"]:25:"))
	for _, found := range line.FindAllStringSubmatch(docker(t, "logs", one.container("postfix")), -1) {
		levels = append(levels, found[1])
	}
	return levels
}

// forgetKeys has Postfix look up anew what TLSA records others have: a process keeps them
// for a second at least (tls_dane.c).
func (one *neighbour) forgetKeys(t *testing.T) {
	t.Helper()
	for _, pid := range one.processes(t, "postfix") {
		if name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); err != nil || string(name) != "smtp\n" {
			continue
		}
		if err := syscall.Kill(pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
			t.Fatal(err)
		}
	}
}

// correspondence is mail from an account of one stack to one of another.
type correspondence struct {
	net                      *neighbours
	a, b                     *neighbour
	from, to                 string
	fromPassword, toPassword string
}

func (c *correspondence) send(t *testing.T) (subject string) {
	t.Helper()
	subject = "by DANE " + randomHex(4)
	if err := c.a.submit(t, c.from, c.fromPassword, c.from, []string{c.to}, message(c.from, c.to, subject, "x")); err != nil {
		t.Fatal(err)
	}
	return subject
}

// publish has B's records be others, for A at once.
func (c *correspondence) publish(t *testing.T, change func(line string) string) {
	t.Helper()
	c.net.publish(t, c.b, change)
	c.a.forgetKeys(t)
}

// verified sends a message that has to go by TLS to a key that is published, as all
// before it.
func (c *correspondence) verified(t *testing.T, when string) {
	t.Helper()
	before := len(c.a.connectionsTo(t, c.b))
	subject := c.send(t)
	if got := c.b.waitMail(t, c.to, c.toPassword, "INBOX", subject); !strings.Contains(got, "with ESMTPS id") {
		t.Errorf("%s: mail came without TLS:\n%s", when, got)
	}
	levels := c.a.connectionsTo(t, c.b)
	if len(levels) <= before || slices.ContainsFunc(levels, func(level string) bool { return level != "Verified" }) {
		t.Errorf("%s: TLS connections to B were %q, %d of them before", when, levels, before)
	}
}

// waits is for a message that has to be put off for B's key.
func (c *correspondence) waits(t *testing.T, when, subject string) {
	t.Helper()
	waitUntil(t, 30*time.Second, when+": mail waits", func() (bool, string) {
		reason := c.a.delays(t)[c.to]
		return strings.Contains(reason, "Server certificate not "), reason
	})
	if n := c.b.count(t, c.to, c.toPassword, subject); n != 0 {
		t.Errorf("%s: mail came", when)
	}
}

// testDANE: what a stack has published of its keys is what the other goes by. Mail goes
// to a key that is published, the next one after a renewal too, and waits, rather than
// go to another one, until the right one is.
func (c *correspondence) testDANE(t *testing.T) {
	t.Helper()
	c.publish(t, c.b.renamed)
	c.verified(t, "with the keys that dns show prints")
	first := c.b.tlsa(t)
	c.b.mustRun(t, "cert", "renew")
	if served := c.b.servedPin(t); served != first.next {
		t.Fatalf("renewed to the key %s, announced was %s", served, first.next)
	}
	c.verified(t, "after a renewal, with the records of before")

	other := fmt.Sprintf("${1}%x", sha256.Sum256([]byte("the key of somebody else")))
	digest := regexp.MustCompile(`(\tTLSA\t3 1 1 )[0-9a-f]{64}`)
	c.publish(t, func(line string) string { return digest.ReplaceAllString(c.b.renamed(line), other) })
	subject := c.send(t)
	c.waits(t, "with a wrong key", subject)
	tries := len(c.a.connectionsTo(t, c.b))
	c.a.flush(t)
	waitUntil(t, 30*time.Second, "another try", func() (bool, string) {
		levels := c.a.connectionsTo(t, c.b)
		return len(levels) > tries, fmt.Sprint(levels)
	})
	c.waits(t, "tried again", subject)

	c.publish(t, c.b.renamed)
	waitUntil(t, 30*time.Second, "with the right key again: mail comes", func() (bool, string) {
		c.a.flush(t)
		return c.b.count(t, c.to, c.toPassword, subject) == 1, fmt.Sprint(c.a.delays(t))
	})
	if levels := c.a.connectionsTo(t, c.b); levels[len(levels)-1] != "Verified" {
		t.Errorf("with the right key again, TLS connections to B were %q", levels)
	}
}
