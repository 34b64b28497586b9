package oldhost

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"
)

// index has the old Dovecot read all mail, as it would have when it came in, and
// takes note of what it says: UIDs. Subscriptions are made by it too.
func (h *Host) index(t T) {
	t.Helper()
	if h.Layout.Format != "maildir" {
		h.saveSome(t)
		return
	}
	var script strings.Builder
	for _, a := range h.Accounts {
		if a.Disabled || a.Hostile {
			continue
		}
		var names []string
		for _, f := range a.Folders {
			if f.Subscribed {
				names = append(names, shellQuote(h.Visible(f.Name)))
			}
		}
		if len(names) > 0 {
			fmt.Fprintf(&script, "doveadm mailbox subscribe -u %s -- %s\n", shellQuote(a.Address), strings.Join(names, " "))
		}
	}
	h.shell(t, script.String())
	counted := h.AllMailboxes(t)
	for i := range h.Accounts {
		a := &h.Accounts[i]
		for _, known := range counted[a.Address] {
			if j := slices.IndexFunc(a.Folders, func(f Folder) bool { return f.Name == known.Name }); j >= 0 {
				a.Folders[j].UIDValidity, a.Folders[j].UIDNext = known.UIDValidity, known.UIDNext
			}
		}
		a.Folders = slices.DeleteFunc(a.Folders, func(f Folder) bool { return f.missing })
	}
}

// shell runs a script on the host as root.
func (h *Host) shell(t T, script string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "docker", "exec", "--interactive", h.Name, "sh", "-eu")
	cmd.Stdin = strings.NewReader(script)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("on %s: %v: %s", h.Name, err, stderr.Bytes())
	}
	return string(out)
}

func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// separator that users see.
func (h *Host) separator() string {
	switch {
	case h.Layout.Separator != 0:
		return string(h.Layout.Separator)
	case h.Layout.FS:
		return "/"
	}
	return "."
}

// Visible is a folder's name as IMAP shows it here.
func (h *Host) Visible(name string) string {
	if name == "INBOX" {
		return name
	}
	return h.Layout.Prefix + strings.ReplaceAll(name, "/", h.separator())
}

// Plain is a folder's name as Folder has it, of what IMAP shows here.
func (h *Host) Plain(visible string) string {
	return strings.ReplaceAll(strings.TrimPrefix(visible, h.Layout.Prefix), h.separator(), "/")
}

// Mailboxes are an account's folders as the old Dovecot counts them now.
func (h *Host) Mailboxes(t T, address string) []Folder {
	t.Helper()
	return h.mailboxes(t, address)[address]
}

// AllMailboxes are those of all accounts that Dovecot knows but hostile ones,
// over which it would stumble.
func (h *Host) AllMailboxes(t T) map[string][]Folder {
	t.Helper()
	var addresses []string
	for _, a := range h.Accounts {
		if !a.Disabled && !a.Hostile {
			addresses = append(addresses, a.Address)
		}
	}
	return h.mailboxes(t, addresses...)
}

func (h *Host) mailboxes(t T, addresses ...string) map[string][]Folder {
	t.Helper()
	var script strings.Builder
	for _, address := range addresses {
		fmt.Fprintln(&script, "doveadm", h.statusArguments(address))
	}
	answers := json.NewDecoder(strings.NewReader(h.shell(t, script.String())))
	all := map[string][]Folder{}
	for _, address := range addresses {
		all[address] = h.folders(t, address, answers)
	}
	return all
}

// statusArguments of doveadm. Its "*" finds nothing in a namespace with a prefix.
func (h *Host) statusArguments(address string) string {
	masks := "'*'"
	if h.Layout.Prefix != "" {
		masks = "INBOX " + shellQuote(h.Layout.Prefix+"*")
	}
	return "-f json mailbox status -u " + shellQuote(address) + " 'messages vsize unseen uidvalidity uidnext' " + masks
}

// folders reads one answer of doveadm.
func (h *Host) folders(t T, address string, answer *json.Decoder) []Folder {
	t.Helper()
	var rows []map[string]string
	if err := answer.Decode(&rows); err != nil {
		t.Fatalf("folders of %s: %v", address, err)
	}
	folders := make([]Folder, 0, len(rows))
	for _, row := range rows {
		number := func(key string) int64 {
			n, err := strconv.ParseInt(row[key], 10, 64)
			if err != nil {
				t.Fatalf("folders of %s: %v", address, err)
			}
			return n
		}
		folders = append(folders, Folder{
			Name: h.Plain(row["mailbox"]), Messages: int(number("messages")), Octets: number("vsize"),
			Unseen: int(number("unseen")), UIDValidity: uint32(number("uidvalidity")), UIDNext: uint32(number("uidnext")),
		})
	}
	return folders
}

// saveSome puts three messages into the mailboxes of alice and bob, where the
// host keeps no Maildir and Dovecot has to write them itself.
func (h *Host) saveSome(t T) {
	t.Helper()
	var script strings.Builder
	for _, address := range []string{"alice@example.org", "bob@example.org"} {
		for n := range 3 {
			fmt.Fprintf(&script, "printf 'From: <writer@elsewhere.example>\\nSubject: letter %d\\n\\nsaved\\n' | doveadm save -u %s -m INBOX\n", n, address)
		}
	}
	h.shell(t, script.String())
}
