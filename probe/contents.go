package probe

import (
	"context"
	"errors"
	"time"

	"github.com/emersion/go-imap/v2"
)

// FolderState is what a server says of a folder.
type FolderState struct {
	Messages, Unseen     int
	UIDNext, UIDValidity uint32
	Octets               int64 // of all messages, with CRLF; -1: the server does not say
}

// ErrNoListener says that the server has no listener of the protocol.
var ErrNoListener = errors.New("there is no listener")

// Folders logs in by IMAP as the target's user and asks for the state of folders,
// by their names in Unicode. One that is not in the answer is not there. It
// selects none and so changes nothing. Its errors are ErrNoListener and *Failure.
func (t *Target) Folders(ctx context.Context, names []string) (map[string]FolderState, error) {
	key := t.firstOn("imaps", "imap")
	if key == "" {
		return nil, ErrNoListener
	}
	states := make(map[string]FolderState)
	return states, t.visitAs(ctx, key, func(l *link) error {
		s := l.session.(*imapSession) // key is an IMAP listener
		for _, name := range names {
			data, err := s.patientStatus(ctx, name)
			var refused *imap.Error
			if errors.As(err, &refused) && refused.Type == imap.StatusResponseTypeNo && refused.Code == imap.ResponseCodeNonExistent {
				continue
			}
			if err != nil {
				return s.failure(err)
			}
			if data.NumMessages == nil || data.NumUnseen == nil {
				return failf(KindAnswer, "STATUS without a number of messages")
			}
			state := FolderState{
				Messages: int(*data.NumMessages), Unseen: int(*data.NumUnseen),
				UIDNext: uint32(data.UIDNext), UIDValidity: data.UIDValidity, Octets: -1,
			}
			if data.Size != nil {
				state.Octets = *data.Size
			}
			states[name] = state
		}
		return nil
	})
}

// usedAgain is the time between two questions for a folder that another process
// of the server works on.
const usedAgain = 500 * time.Millisecond

// patientStatus asks for a folder's state until the server has it: Dovecot may be
// counting the octets of a folder that it has never seen, and says INUSE to whoever
// asks meanwhile (RFC 5530).
func (s *imapSession) patientStatus(ctx context.Context, name string) (*imap.StatusData, error) {
	for {
		data, err := s.Status(name, &imap.StatusOptions{
			NumMessages: true, NumUnseen: true, UIDNext: true, UIDValidity: true, Size: s.Caps().Has(imap.CapStatusSize),
		}).Wait()
		var refused *imap.Error
		if !errors.As(err, &refused) || refused.Code != imap.ResponseCodeInUse {
			return data, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(usedAgain):
		}
	}
}

// Maildrop logs in by POP3 as the target's user and asks for the number of
// messages and their octets, with CRLF. Its errors are ErrNoListener and *Failure.
func (t *Target) Maildrop(ctx context.Context) (messages int, octets int64, err error) {
	key := t.firstOn("pop3s", "pop3")
	if key == "" {
		return 0, 0, ErrNoListener
	}
	err = t.visitAs(ctx, key, func(l *link) (err error) {
		messages, octets, err = l.session.(*pop3Session).stat() // key is a POP3 listener
		return err
	})
	return messages, octets, err
}

// visitAs is one dialogue, logged in.
func (t *Target) visitAs(ctx context.Context, key string, ask func(*link) error) error {
	if err := t.needAccount(); err != nil {
		return err
	}
	l, err := connectAny(ctx, t, &Trace{}, key, withTLS)
	if err != nil {
		return err
	}
	defer l.close()
	if err := l.authenticate(ctx, t.User, t.Password); err != nil {
		return err
	}
	if err := l.tr.step(ctx, "read", func() error { return ask(l) }); err != nil {
		return err
	}
	return l.leave(ctx)
}
