package migrate

import (
	"context"
	"fmt"
	"time"

	"mailstack/migrate/maildir"
)

// FolderState is what the new server says of a folder.
type FolderState struct {
	Messages, Unseen     int
	UIDNext, UIDValidity uint32
	Octets               int64 // of all messages, with CRLF; -1: it does not say
}

// Logins asks the new server as the owner of an account would. What is nil is not
// asked.
type Logins struct {
	// Folders asks by IMAP for the state of folders, by their names in Unicode,
	// levels separated by '/'. What is not in the answer is not there.
	Folders func(ctx context.Context, address string, names []string) (map[string]FolderState, error)
	// Maildrop asks by POP3 for messages and octets, with CRLF.
	Maildrop func(ctx context.Context, address string) (messages int, octets int64, err error)
}

const (
	// loginTimeout is how long a server may take over one account. It indexes the
	// mailbox meanwhile: 100,000 messages take a small host half a minute.
	loginTimeout = 10 * time.Minute
	// loginsAtOnce leaves a small host some room.
	loginsAtOnce = 4
)

// Login logs in to every account that the pass of the report has brought, and
// compares what the server says of its folders with what their files say. What
// differs is added to the report; an error is ctx's, or one of writing the state.
func (m *Migration) Login(ctx context.Context, report *Report, logins Logins) error {
	meter := newMeter(m.Progress, m.now)
	meter.begin(LoggingIn, len(report.Mailboxes), Amount{})
	done := counter{tell: meter.mailboxes}
	var indexes []int
	for i := range report.Mailboxes {
		indexes = append(indexes, i)
	}
	err := forEachSlot(ctx, loginsAtOnce, indexes, func(ctx context.Context, _ int, i int) error {
		if r := &report.Mailboxes[i]; r.Problem == "" {
			r.login(ctx, logins)
		}
		done.add(1)
		return ctx.Err()
	})
	meter.end()
	report.Phases = append(report.Phases, meter.phases()...)
	report.Ended = m.Now().UTC()
	if err != nil {
		return err
	}
	m.state.took(m.From.Target(), report.Began, report.Phases) // for a forecast
	return m.state.write(m.work, m.Now())
}

// CheckLogin logs in to one account whose mail has come by another way, and returns
// in what the server says otherwise than the files, one line each.
func CheckLogin(ctx context.Context, to Destination, address string, logins Logins) ([]string, error) {
	store, err := openTrusted(to.Store)
	if err != nil {
		return nil, err
	}
	defer store.close()
	v := verifier{store: store}
	m := newMailbox(Account{Address: address})
	here, err := v.here(m)
	if err == nil {
		err = v.read(&pair{before: m, here: here})
	}
	if err != nil {
		return nil, fmt.Errorf("read the mail of %s: %w", address, err)
	}
	r := Result{Address: address, Expected: here.Expected()}
	r.login(ctx, logins)
	return r.Login, ctx.Err()
}

func (r *Result) login(ctx context.Context, logins Logins) {
	ctx, cancel := context.WithTimeout(ctx, loginTimeout)
	defer cancel()
	if logins.Folders != nil {
		if err := r.askFolders(ctx, logins); err != nil {
			r.Login = append(r.Login, fmt.Sprintf("IMAP: %v", err))
		}
	}
	if logins.Maildrop != nil {
		if err := r.askMaildrop(ctx, logins); err != nil {
			r.Login = append(r.Login, fmt.Sprintf("POP3: %v", err))
		}
	}
}

func (r *Result) askFolders(ctx context.Context, logins Logins) error {
	var names []string
	var asked []maildir.Expected
	for _, e := range r.Expected {
		if e.Unspeakable {
			r.Notes = append(r.Notes, fmt.Sprintf("not asked for by IMAP, as no client can say its name: folder %.200q", e.Folder))
			continue
		}
		names = append(names, e.Folder)
		asked = append(asked, e)
	}
	states, err := logins.Folders(ctx, r.Address, names)
	if err != nil {
		return err
	}
	for _, e := range asked {
		r.compareFolder(e, states)
	}
	return nil
}

// compareFolder compares what the server says with what the files say, where
// they say it.
func (r *Result) compareFolder(e maildir.Expected, states map[string]FolderState) {
	s, found := states[e.Folder]
	if !found {
		r.Login = append(r.Login, fmt.Sprintf("IMAP: the server does not know folder %q", e.Folder))
		return
	}
	differs := func(known bool, what string, server, files any) {
		if known && server != files {
			r.Login = append(r.Login, fmt.Sprintf("IMAP: %s: the server says %s %v, the files %v", e.Folder, what, server, files))
		}
	}
	differs(e.Messages >= 0, "messages", s.Messages, e.Messages)
	differs(e.Messages >= 0, "unseen", s.Unseen, e.Unseen)
	differs(e.UIDValidity != 0, "UIDVALIDITY", s.UIDValidity, e.UIDValidity)
	differs(e.UIDNext != 0 && e.Messages >= 0, "UIDNEXT", s.UIDNext, e.UIDNext)
	differs(s.Octets >= 0 && e.Octets >= 0 && e.Messages >= 0, "octets", s.Octets, e.Octets)
}

func (r *Result) askMaildrop(ctx context.Context, logins Logins) error {
	messages, octets, err := logins.Maildrop(ctx, r.Address)
	if err != nil {
		return err
	}
	for _, e := range r.Expected {
		if e.Folder != "INBOX" || e.Messages < 0 {
			continue
		}
		if messages != e.Messages {
			r.Login = append(r.Login, fmt.Sprintf("POP3: the server says messages %d, the files %d", messages, e.Messages))
		}
		if e.Octets >= 0 && octets != e.Octets {
			r.Login = append(r.Login, fmt.Sprintf("POP3: the server says octets %d, the files %d", octets, e.Octets))
		}
	}
	return nil
}
