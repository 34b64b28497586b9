package probe

import (
	"context"
	"io"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
)

// imapMailbox is the probe's INBOX, selected.
type imapMailbox struct {
	l *link
	s *imapSession
	t *Target
}

func openInbox(ctx context.Context, t *Target, tr *Trace, key string) (*imapMailbox, error) {
	l, err := connectAny(ctx, t, tr, key, withTLS)
	if err != nil {
		return nil, err
	}
	m := &imapMailbox{l: l, s: l.session.(*imapSession), t: t} // key is an IMAP listener
	err = l.authenticate(ctx, t.User, t.Password)
	if err == nil {
		err = l.tr.step(ctx, "select", func() error {
			_, err := m.s.Select("INBOX", nil).Wait()
			return m.s.failure(err)
		})
	}
	if err != nil {
		l.close()
		return nil, err
	}
	return m, nil
}

// count is the number of messages with a token. The search only finds
// candidates; see sweep.
func (m *imapMailbox) count(ctx context.Context, token string) (int, error) {
	uids, err := m.search(ctx, token)
	return len(uids), err
}

func (m *imapMailbox) search(ctx context.Context, value string) ([]imap.UID, error) {
	var uids []imap.UID
	err := m.l.tr.step(ctx, "search", func() error {
		// A search alone need not see what came since the last command.
		if err := m.s.Noop().Wait(); err != nil {
			return m.s.failure(err)
		}
		data, err := m.s.UIDSearch(&imap.SearchCriteria{
			Header: []imap.SearchCriteriaHeaderField{{Key: markerField, Value: value}},
		}, nil).Wait()
		if err != nil {
			return m.s.failure(err)
		}
		uids, err = numbers(data)
		return err
	})
	return uids, err
}

// maxFound bounds how many messages a search may find. The library makes a number
// of each that a range stands for, and "1:4294967295" is written quickly.
const maxFound = 100_000

func numbers(data *imap.SearchData) ([]imap.UID, error) {
	ranges, _ := data.All.(imap.UIDSet)
	count := uint64(0)
	for _, r := range ranges {
		if r.Start == 0 || r.Stop == 0 { // "*" to the library, which panics
			return nil, failf(KindGarbage, "a search that finds message 0")
		}
		if count += uint64(r.Stop-r.Start) + 1; count > maxFound {
			return nil, failf(KindGarbage, "a search that finds more than %d messages", maxFound)
		}
	}
	return data.AllUIDs(), nil
}

// maxSweep bounds how many messages one run removes; the next takes the rest.
const maxSweep = 200

// sweep removes the messages with the token and those of runs that are over,
// and returns how many had the token. What does not carry the probe's own
// signature is not touched.
func (m *imapMailbox) sweep(ctx context.Context, token string) (copies int, err error) {
	found, err := m.search(ctx, "") // the field is there, whatever it says
	if err != nil || len(found) == 0 {
		return 0, err
	}
	found = found[max(0, len(found)-maxSweep):]
	err = m.l.tr.step(ctx, "remove", func() error {
		var ours imap.UIDSet
		if ours, copies, err = m.verify(imap.UIDSetNum(found...), token); err != nil || len(ours) == 0 {
			return err
		}
		return m.expunge(ours)
	})
	return copies, err
}

// verify picks the messages that this package has signed, and whose run is this
// one or over.
func (m *imapMailbox) verify(found imap.UIDSet, token string) (ours imap.UIDSet, copies int, err error) {
	section := &imap.FetchItemBodySection{
		Specifier: imap.PartSpecifierHeader, HeaderFields: []string{markerField}, Peek: true,
	}
	messages := m.s.Fetch(found, &imap.FetchOptions{UID: true, BodySection: []*imap.FetchItemBodySection{section}})
	now := time.Now()
	for message := messages.Next(); message != nil; message = messages.Next() {
		uid, header, err := headerOf(message)
		if err != nil {
			// Nothing more of this command may be touched: the library goes on
			// reading what is left of the connection by itself.
			return nil, 0, m.s.failure(err)
		}
		mark, ok := markerIn(m.t, strings.Split(strings.ReplaceAll(header, "\r\n", "\n"), "\n"))
		if !ok || uid == 0 || (mark.token != token && !mark.stale(now)) {
			continue
		}
		ours.AddNum(uid)
		if mark.token == token {
			copies++
		}
	}
	return ours, copies, m.s.failure(messages.Close())
}

// headerOf reads what was fetched of a message.
func headerOf(message *imapclient.FetchMessageData) (uid imap.UID, header string, err error) {
	for item := message.Next(); item != nil; item = message.Next() {
		switch item := item.(type) {
		case imapclient.FetchItemDataUID:
			uid = item.UID
		case imapclient.FetchItemDataBodySection:
			if item.Literal == nil {
				continue
			}
			data, err := io.ReadAll(item.Literal)
			if err == nil && int64(len(data)) < item.Literal.Size() {
				err = io.ErrUnexpectedEOF
			}
			if err != nil {
				return 0, "", err
			}
			header = string(data)
		}
	}
	return uid, header, nil
}

// expunge removes these messages and no others: a plain EXPUNGE would take
// every message that anybody has marked as deleted.
func (m *imapMailbox) expunge(uids imap.UIDSet) error {
	if caps := m.s.Caps(); !caps.Has(imap.CapUIDPlus) && !caps.Has(imap.CapIMAP4rev2) {
		return failf(KindAnswer, "the server has no UID EXPUNGE, so the message stays")
	}
	err := m.s.Store(uids, &imap.StoreFlags{
		Op: imap.StoreFlagsAdd, Silent: true, Flags: []imap.Flag{imap.FlagDeleted},
	}, nil).Close()
	if err != nil {
		return m.s.failure(err)
	}
	return m.s.failure(m.s.UIDExpunge(uids).Close())
}

// maxTop bounds how many messages are looked at by POP3, the newest first.
const maxTop = 50

// lookByPOP3 is 1 if the message with the token can be read by POP3, else 0.
// Each look is a session: POP3 shows a mailbox as it was at the login. With
// remove it also does what sweep does, for a server without IMAP.
func lookByPOP3(ctx context.Context, t *Target, tr *Trace, key, token string, remove bool) (int, error) {
	l, err := connectAny(ctx, t, tr, key, withTLS)
	if err != nil {
		return 0, err
	}
	defer l.close()
	if err := l.authenticate(ctx, t.User, t.Password); err != nil {
		return 0, err
	}
	s := l.session.(*pop3Session) // key is a POP3 listener
	found := 0
	err = l.tr.step(ctx, "top", func() error {
		found, err = s.find(t, token, remove)
		return err
	})
	switch {
	case isKind(err, KindClosed), isKind(err, KindAnswer):
		return 0, &disturbed{err}
	case err != nil:
		return 0, err
	}
	return found, l.leave(ctx)
}

// disturbed is a look that may have failed because another run has just removed
// one of the messages that the session lists.
type disturbed struct{ error }

// maxDisturbed is how often in a row that may be taken for the reason.
const maxDisturbed = 3

func (s *pop3Session) find(t *Target, token string, remove bool) (found int, err error) {
	last, _, err := s.stat()
	if err != nil {
		return 0, err
	}
	for n := last; n > max(0, last-maxTop); n-- {
		header, err := s.header(n)
		if err != nil {
			return 0, err
		}
		m, ours := markerIn(t, header)
		if !ours {
			continue
		}
		if m.token == token {
			found++
		}
		if !remove && found > 0 {
			break
		}
		if remove && (m.token == token || m.stale(time.Now())) {
			if _, err := s.command("DELE %d", n); err != nil {
				return 0, err
			}
		}
	}
	return found, nil
}
