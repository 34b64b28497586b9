package probe

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

// TestBlame: a container that is down explains what is refused at its own ports
// and what is away, and nothing else.
func TestBlame(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.backendDown = true
	target := w.start("pop3s", "managesieve")
	w.listener("imap").Close()
	w.listener("smtp").Close()
	target.Ports = w.target.Ports
	target.Database = func(context.Context) error { return errors.New("no socket") }
	target.Rights = known([]string{"x has FILE"}, nil)
	dovecot := ContainerState{Service: "dovecot", State: "exited", Condition: "exited with status 137", Listens: []string{"imap", "imaps"}}
	mysql := ContainerState{Service: "mysql", State: "running", Health: "healthy"}
	const hint = "probably because of dovecot (exited with status 137): `mailstack logs dovecot` says why; `mailstack up` starts it"
	names := Options{Only: []string{"imap", "pop3s", "smtp", "mysql", "containers"}, Timeout: 10 * time.Second}

	target.Containers = known([]ContainerState{mysql, dovecot}, nil)
	for _, c := range run(t, target, names).Checks {
		blamed := c.Name == "imap" || c.Name == "pop3s" || c.Name == "mysql.query"
		if c.Status != Critical || (c.Hint == hint) != blamed {
			t.Errorf("%s is %s: %q, hint %q", c.Name, c.Status, c.Reason, c.Hint)
		}
	}
	mysql.State = "paused"
	target.Containers = known([]ContainerState{mysql, dovecot}, nil)
	for name, want := range map[string]string{
		"imap": hint, "pop3s": "because of mysql (paused) and dovecot (exited with status 137): `mailstack up` starts them",
	} {
		for _, c := range run(t, target, Options{Only: []string{name, "containers"}, Timeout: 10 * time.Second}).Checks {
			if c.Name == name && !strings.HasSuffix(c.Hint, want) {
				t.Errorf("%s: hint %q", name, c.Hint)
			}
		}
	}
}

// TestBlameOfDisk: a disk without room explains what is away, one with little does not.
func TestBlameOfDisk(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.backendDown = true
	target := w.start("imap")
	for free, want := range map[int64]string{
		1e6: "probably because of the disk of vmail (1.0 of 5000.0 MB free): make room there", 1e8: "see `mailstack status`",
	} {
		target.Disks = known([]DiskState{{Volumes: []string{"vmail"}, FreeBytes: free, TotalBytes: 5e9}}, nil)
		for _, c := range run(t, target, Options{Only: []string{"imap", "disk"}, Timeout: 10 * time.Second}).Checks {
			if c.Name == "imap" && !strings.Contains(c.Hint, want) {
				t.Errorf("with %d bytes free: hint %q, want %q", free, c.Hint, want)
			}
		}
	}
}
