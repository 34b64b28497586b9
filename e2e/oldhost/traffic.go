package oldhost

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/emersion/go-imap/v2"
)

// Traffic is what goes on in mailboxes while they are being copied.
type Traffic struct {
	stop chan struct{} // closed by once
	once sync.Once
	done sync.WaitGroup

	mu   sync.Mutex
	last TrafficReport
}

// TrafficReport is what was done.
type TrafficReport struct {
	// Accepted are the subjects of the letters that Postfix took, by address.
	Accepted map[string][]string
	// Flagged, Moved and Deleted count messages: letters of this traffic were
	// flagged, moved to Trash or deleted, older ones only flagged.
	Flagged, Moved, Deleted int
	// Refused is what ended the traffic before Stop did: the host was frozen. The
	// last step may then have been done even so, and is not in the counts.
	Refused error
}

// pace of the traffic: a letter and a look into the mailbox at a time.
const pace = 50 * time.Millisecond

// Traffic delivers letters to the addresses in turn, and reads, flags, moves and
// deletes in their inboxes by IMAP, until Stop or the test's end. It returns
// when a first letter has been taken. A host that is frozen meanwhile ends it
// without a failure.
func (h *Host) Traffic(t T, addresses ...string) *Traffic {
	t.Helper()
	tr := &Traffic{stop: make(chan struct{}), last: TrafficReport{Accepted: map[string][]string{}}}
	began := make(chan error, 1)
	tr.done.Go(func() {
		for n := 0; ; n++ {
			err := tr.round(t.Context(), h, h.Account(addresses[n%len(addresses)]), n)
			if n == 0 {
				began <- err
			}
			if err != nil {
				tr.note(func(r *TrafficReport) { r.Refused = err })
				return
			}
			select {
			case <-tr.stop:
				return
			case <-t.Context().Done():
				return
			case <-time.After(pace):
			}
		}
	})
	t.Cleanup(func() { tr.Stop() })
	if err := <-began; err != nil {
		t.Fatalf("traffic on %s: %v", h.Name, err)
	}
	return tr
}

// Stop ends the traffic when the step that is under way has been done.
func (tr *Traffic) Stop() TrafficReport {
	tr.once.Do(func() { close(tr.stop) })
	tr.done.Wait()
	return tr.Report()
}

// Report is what was done so far.
func (tr *Traffic) Report() TrafficReport {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	report := tr.last
	report.Accepted = maps.Clone(report.Accepted)
	return report
}

func (tr *Traffic) note(change func(*TrafficReport)) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	change(&tr.last)
}

// round delivers a letter and looks into the mailbox.
func (tr *Traffic) round(ctx context.Context, h *Host, a Account, n int) error {
	subject := fmt.Sprintf("traffic %d", n)
	if err := h.Send(ctx, a.Address, subject); err != nil {
		return err
	}
	tr.note(func(r *TrafficReport) { r.Accepted[a.Address] = append(r.Accepted[a.Address], subject) })
	return tr.touch(ctx, h, a, n)
}

// touch does as people do with what is in their inbox.
func (tr *Traffic) touch(ctx context.Context, h *Host, a Account, n int) (err error) {
	c, err := h.Login(ctx, a.Address, a.Password)
	if err != nil {
		return err
	}
	defer func() {
		if err == nil {
			err = c.Logout().Wait()
		}
		_ = c.Close() // the server may have closed it before us
	}()
	box, err := c.Select("INBOX", nil).Wait()
	if err != nil || box.NumMessages == 0 {
		return err
	}
	flag := imap.SeqSetNum(uint32(n)%box.NumMessages + 1)
	if err := c.Store(flag, &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: []imap.Flag{imap.FlagFlagged, "$Traffic"}}, nil).Close(); err != nil {
		return err
	}
	tr.note(func(r *TrafficReport) { r.Flagged++ })
	if n%5 < 3 {
		return nil
	}
	found, err := c.UIDSearch(&imap.SearchCriteria{Header: []imap.SearchCriteriaHeaderField{{Key: "Subject", Value: "traffic "}}}, nil).Wait()
	if err != nil || len(found.AllUIDs()) == 0 {
		return err
	}
	one := imap.UIDSetNum(found.AllUIDs()[0])
	if n%5 == 3 {
		if _, err := c.Move(one, h.Visible("Trash")).Wait(); err != nil {
			return err
		}
		tr.note(func(r *TrafficReport) { r.Moved++ })
		return nil
	}
	if err := c.Store(one, &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: []imap.Flag{imap.FlagDeleted}}, nil).Close(); err != nil {
		return err
	}
	if err := c.UIDExpunge(one).Close(); err != nil {
		return err
	}
	tr.note(func(r *TrafficReport) { r.Deleted++ })
	return nil
}
