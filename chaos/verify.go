package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"mailstack/e2e/lab"
)

// copyOf is one message in a mailbox.
type copyOf struct {
	mailbox       string
	validity, uid uint32
	flagged       bool
	content
}

// content is what is read of a message, once.
type content struct {
	sum string // of its body
	// seen: the filter says in the header what it found, or has signed it. What is
	// taken while the filter is away would lack that: by default nothing is.
	seen bool
}

// inventory is what the mailboxes hold: by account, by letter.
type inventory map[string]map[string][]copyOf

// auditor compares mailboxes with the ledger. It remembers the bodies that it
// has read, and what it has complained about.
type auditor struct {
	arena *arena
	read  map[string]content // by account, mailbox, UIDVALIDITY and UID
	told  map[string]bool
	// Power cuts. Dovecot leaves what it can make again to the kernel: what IMAP
	// clients were told in the seconds before may be undone, and UIDs may be given anew.
	cuts []time.Time
}

func newAuditor(a *arena) *auditor {
	return &auditor{arena: a, read: map[string]content{}, told: map[string]bool{}}
}

// audit is the outcome of a comparison, in copies: a letter to two mailboxes is
// two. Lost and doubled are those that no audit has seen before.
type audit struct {
	Acknowledged int `json:"acknowledged"`
	Found        int `json:"found"`
	Lost         int `json:"lost"`
	Doubled      int `json:"doubled"`
	Changes      int `json:"changes"` // IMAP changes with an OK
	Undone       int `json:"undone"`  // those that are not there
}

// unwritten is how long ago a change may have been made that a power cut undoes. ext4
// writes its journal every 5 seconds.
const unwritten = 10 * time.Second

// powerCut notes one.
func (u *auditor) powerCut(at time.Time) {
	u.cuts = append(u.cuts, at)
	clear(u.read)
}

// take lists all mailboxes.
func (u *auditor) take(ctx context.Context) (inventory, error) {
	all := inventory{}
	for _, account := range u.arena.accounts() {
		held, err := u.takeAccount(ctx, account)
		if err != nil {
			return nil, fmt.Errorf("list mailboxes of %s: %w", account, err)
		}
		all[account] = held
	}
	return all, nil
}

func (u *auditor) takeAccount(ctx context.Context, account string) (map[string][]copyOf, error) {
	c, err := u.arena.login(ctx, account)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	mailboxes, err := c.List("", "*", nil).Collect()
	if err != nil {
		return nil, err
	}
	held := map[string][]copyOf{}
	for _, mailbox := range mailboxes {
		if slices.Contains(mailbox.Attrs, imap.MailboxAttrNoSelect) {
			continue
		}
		if err := u.takeMailbox(c, place{account, mailbox.Mailbox}, held); err != nil {
			return nil, err
		}
	}
	return held, nil
}

func (u *auditor) takeMailbox(c *imapclient.Client, p place, held map[string][]copyOf) error {
	box, err := c.Select(p.Mailbox, &imap.SelectOptions{ReadOnly: true}).Wait()
	if err != nil || box.NumMessages == 0 {
		return err
	}
	messages, err := c.Fetch(imap.SeqSet{imap.SeqRange{Start: 1}}, &imap.FetchOptions{UID: true, Envelope: true, Flags: true}).Collect()
	if err != nil {
		return err
	}
	key := func(uid imap.UID) string { return fmt.Sprint(p, box.UIDValidity, uid) }
	var unread imap.UIDSet
	for _, m := range messages {
		if _, known := u.read[key(m.UID)]; !known {
			unread.AddNum(m.UID)
		}
	}
	if len(unread) > 0 {
		if err := u.readContent(c, unread, key); err != nil {
			return err
		}
	}
	for _, m := range messages {
		id, ours := strings.CutPrefix(m.Envelope.Subject, subjectPrefix)
		if !ours {
			continue
		}
		held[id] = append(held[id], copyOf{
			p.Mailbox, box.UIDValidity, uint32(m.UID), slices.Contains(m.Flags, imap.FlagFlagged), u.read[key(m.UID)],
		})
	}
	return nil
}

// readContent reads messages, one at a time, and keeps what counts of each.
func (u *auditor) readContent(c *imapclient.Client, uids imap.UIDSet, key func(imap.UID) string) error {
	body := &imap.FetchItemBodySection{Specifier: imap.PartSpecifierText, Peek: true}
	found := &imap.FetchItemBodySection{
		Specifier: imap.PartSpecifierHeader, HeaderFields: []string{"Authentication-Results", "DKIM-Signature"}, Peek: true,
	}
	fetch := c.Fetch(uids, &imap.FetchOptions{UID: true, BodySection: []*imap.FetchItemBodySection{body, found}})
	for m := fetch.Next(); m != nil; m = fetch.Next() {
		var uid imap.UID
		hash, header := sha256.New(), new(strings.Builder)
		for item := m.Next(); item != nil; item = m.Next() {
			switch item := item.(type) {
			case imapclient.FetchItemDataUID:
				uid = item.UID
			case imapclient.FetchItemDataBodySection:
				var into io.Writer = hash
				if item.Section.Specifier == imap.PartSpecifierHeader {
					into = header
				}
				n, err := io.Copy(into, item.Literal)
				// Where the connection ends, the library says that the literal does, and
				// reads on: nothing of this may be read any more.
				if err == nil && n < item.Literal.Size() {
					return fmt.Errorf("what is read of UID %d ends after %d of %d octets", uid, n, item.Literal.Size())
				}
				if err != nil {
					fetch.Close()
					return err
				}
			}
		}
		u.read[key(uid)] = content{hex.EncodeToString(hash.Sum(nil)), strings.TrimSpace(header.String()) != ""}
	}
	return fetch.Close()
}

// missing are the acknowledged copies that are nowhere.
func (u *auditor) missing(have inventory) (missing []string, err error) {
	letters, _, err := u.arena.ledger.read()
	for _, m := range letters {
		for _, p := range m.To {
			if len(have[p.Account][m.ID]) == 0 && !u.arena.ledger.wasTried(p.Account, m.ID, deleted) {
				missing = append(missing, m.ID+" in "+p.Mailbox+" of "+p.Account)
			}
		}
	}
	return missing, err
}

// audit compares everything with the whole ledger, and counts for the round what
// is of that round and what is news.
func (u *auditor) audit(have inventory, round int) (audit, error) {
	var r audit
	letters, changes, err := u.arena.ledger.read()
	if err != nil {
		return r, err
	}
	known := map[string]bool{}
	for _, m := range letters {
		known[m.ID] = true
		for _, p := range m.To {
			there := u.copies(&r, round, m, p, have[p.Account][m.ID])
			if m.Round == round {
				r.Acknowledged++
				r.Found += there
			}
		}
	}
	for _, c := range changes {
		if c.Round == round {
			r.Changes++
		}
		undone := u.undone(c, have[c.Account][c.ID])
		if undone != "" && u.news("change", c.Account, c.ID, c.Kind) {
			r.Undone++
			if slices.ContainsFunc(u.cuts, func(at time.Time) bool { return c.At.Before(at) && at.Sub(c.At) < unwritten }) {
				continue
			}
			u.arena.findings.add("change undone", "round %d: %s of %s, UID %d, in %s: %s", c.Round, c.Kind, c.ID, c.UID, c.Account, undone)
		}
	}
	u.strays(have)
	return r, nil
}

// copies judges the copies of a letter that an account has; there is 1 where it
// is found.
func (u *auditor) copies(r *audit, round int, m letter, p place, copies []copyOf) (there int) {
	ledger := u.arena.ledger
	maybeDeleted := ledger.wasTried(p.Account, m.ID, deleted)
	if len(copies) == 0 && !maybeDeleted {
		if u.news("lost", p.Account, m.ID) {
			r.Lost++
			u.arena.findings.add("lost", "%s of round %d in %s of %s", m.ID, m.Round, p.Mailbox, p.Account)
		}
		return 0
	}
	for i := 1; i < len(copies); i++ {
		if u.news("doubled", p.Account, m.ID, fmt.Sprint(i)) {
			r.Doubled++
			// A move that was cut short has left a copy on either side.
			if m.Round != round && !ledger.wasTried(p.Account, m.ID, moved) {
				u.arena.findings.add("doubled after its delivery", "%s of round %d in %s of %s", m.ID, m.Round, p.Mailbox, p.Account)
			}
		}
	}
	for _, c := range copies {
		if c.sum != m.Sum && u.news("damaged", p.Account, m.ID, fmt.Sprint(c.uid)) {
			u.arena.findings.add("damaged", "%s of round %d in %s of %s, UID %d", m.ID, m.Round, c.mailbox, p.Account, c.uid)
		}
		if !c.seen && u.news("unseen", p.Account, m.ID, fmt.Sprint(c.uid)) {
			u.arena.findings.add("taken past the filter", "%s of round %d in %s of %s, UID %d", m.ID, m.Round, c.mailbox, p.Account, c.uid)
		}
	}
	return 1
}

// undone says how a change that got its OK is not there, "" if it is. A second
// copy of the message has a UID of its own and was not changed.
func (u *auditor) undone(c change, copies []copyOf) string {
	at := func(mailbox string) func(copyOf) bool {
		return func(one copyOf) bool { return one.mailbox == mailbox }
	}
	same := func(one copyOf) bool {
		return one.mailbox == "INBOX" && one.validity == c.Validity && one.uid == c.UID
	}
	mayBeGone := u.arena.ledger.wasTried(c.Account, c.ID, deleted)
	switch {
	case c.Kind != flagged && slices.ContainsFunc(copies, same):
		return "it is still in INBOX"
	case c.Kind == moved && !mayBeGone && !slices.ContainsFunc(copies, at("Archive")):
		return "it is not in Archive"
	case c.Kind == flagged && !mayBeGone && !slices.ContainsFunc(copies, func(one copyOf) bool { return one.flagged }):
		return "it has no flag"
	}
	return ""
}

// strays are letters where they do not belong.
func (u *auditor) strays(have inventory) {
	for account, letters := range have {
		for id, copies := range letters {
			places := u.arena.ledger.places(id)
			for _, c := range copies {
				allowed := slices.Contains(places, place{account, c.mailbox}) ||
					c.mailbox == "Archive" && u.arena.ledger.wasTried(account, id, moved)
				if !allowed && u.news("stray", account, c.mailbox, id) {
					u.arena.findings.add("misplaced", "%s in %s of %s", id, c.mailbox, account)
				}
			}
		}
	}
}

// news says whether this is seen for the first time.
func (u *auditor) news(words ...string) bool {
	key := strings.Join(words, "\x00")
	if u.told[key] {
		return false
	}
	u.told[key] = true
	return true
}

// queued is what Postfix's queue holds, a JSON object a line. The engine has left
// such a question unanswered for good: whoever asks again gets the answer.
func (a *arena) queued(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return a.Docker(ctx, "exec", a.Container("postfix"), "mailstack-queue")
}

// settle waits until the queue is empty and everything acknowledged is in a
// mailbox.
func (u *auditor) settle(ctx context.Context, within time.Duration) (inventory, error) {
	var have inventory
	err := lab.Eventually(ctx, within, "all acknowledged mail is delivered", func(ctx context.Context) error {
		queue, err := u.arena.queued(ctx)
		if err != nil {
			return err
		}
		if queue != "" {
			first, _, _ := strings.Cut(queue, "\n")
			return fmt.Errorf("%d messages in the queue, first %s", strings.Count(queue, "\n")+1, first)
		}
		if have, err = u.take(ctx); err != nil {
			return err
		}
		missing, err := u.missing(have)
		if err == nil && len(missing) > 0 {
			err = fmt.Errorf("%d messages are nowhere, first %s", len(missing), missing[0])
		}
		return err
	})
	return have, err
}
