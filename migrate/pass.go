package migrate

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"time"

	"mailstack/migrate/maildir"

	"golang.org/x/sys/unix"
)

// Pass copies what has changed on the old server, puts it into the mail store and
// compares both sides. It may be repeated as often as wanted. In the last one,
// final, nobody uses the old server any more, so that any difference is one.
//
// Its error is what kept it from its end; what is wrong with single mailboxes is in
// the report, which is never nil.
func (m *Migration) Pass(ctx context.Context, final bool) (*Report, error) {
	meter := newMeter(m.Progress, m.now)
	report := m.begin(final)
	err := m.pass(ctx, final, meter, report)
	m.end(report, meter, err)
	if err != nil {
		return report, err
	}
	m.state.note(m.From.Target(), passRecord{
		Began: report.Began, Final: final, Total: report.Total, Copied: report.Copied, Phases: report.Phases,
	})
	return report, m.state.write(m.work, m.Now())
}

func (m *Migration) begin(final bool) *Report {
	return &Report{From: m.From.Target(), Final: final, Began: m.Now().UTC()}
}

func (m *Migration) end(report *Report, meter *meter, err error) {
	report.Ended = m.Now().UTC()
	report.Phases = meter.phases()
	for _, b := range m.boxes {
		report.Total.add(b.size())
	}
	if err != nil {
		report.Error = err.Error()
		report.Mailboxes = m.problems()
	}
}

// problems is what is known of the mailboxes when nothing was compared.
func (m *Migration) problems() []Result {
	results := make([]Result, len(m.boxes))
	for i, b := range m.boxes {
		results[i] = b.result()
		if results[i].Problem == "" {
			results[i].Problem = "not compared: the pass did not come to its end"
		}
	}
	return results
}

func (m *Migration) pass(ctx context.Context, final bool, meter *meter, report *Report) error {
	if err := checkRsync(ctx, m.Rsync, m.From); err != nil {
		return err
	}
	if err := m.scan(ctx, meter); err != nil {
		return err
	}
	work, err := m.compare()
	if err != nil {
		return err
	}
	if err := m.copy(ctx, work, meter, report); err != nil {
		return err
	}
	if err := m.place(ctx, meter); err != nil {
		return err
	}
	return m.verify(ctx, final, meter, report)
}

func (m *Migration) verify(ctx context.Context, final bool, meter *meter, report *Report) (err error) {
	meter.begin(Verifying, len(m.boxes), Amount{})
	defer meter.end()
	v := verifier{from: m.From, store: m.store, Verify: m.Verify, live: !final}
	report.Mailboxes, err = v.verify(ctx, m.boxes, m.Workers, meter)
	if err != nil {
		return err
	}
	return m.distrust(report.Mailboxes)
}

// distrust makes the next pass copy files again that differ although their sizes
// and dates say that they do not: it takes their dates away.
func (m *Migration) distrust(results []Result) error {
	mirror := newTree(m.mirror)
	defer mirror.close()
	for i, r := range results {
		b := m.boxes[i]
		for _, d := range slices.Concat(r.Differences, r.Changing) {
			store := newTree(m.store)
			for _, p := range d.There {
				if err := mirror.undate(inMirror(p)); err != nil {
					return err
				}
			}
			for _, p := range d.Here {
				if err := store.undate(b.domain + "/" + b.local + p); err != nil {
					return err
				}
			}
			store.close()
		}
	}
	return nil
}

// undate takes a file's date away. It may be gone.
func (t *tree) undate(p string) error {
	parent, name := cutLast(p)
	d, err := t.at(parent, (*dir).descend)
	if err == nil {
		err = d.setTime(name, time.Unix(0, 0))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (m *Migration) scan(ctx context.Context, meter *meter) error {
	meter.begin(Scanning, len(m.boxes), Amount{})
	defer meter.end()
	if err := scan(ctx, m.From, m.boxes, m.Workers, meter.mailboxes); err != nil {
		return err
	}
	m.checkMissing()
	separate(m.boxes)
	return nil
}

// separate refuses accounts with one mailbox, and those with one in a folder of
// another's. Which of them a link has brought there cannot be told, and whose link
// it is would get mail that Dovecot there does not show him: none is copied.
func separate(boxes []*mailbox) {
	owners := make(map[string][]*mailbox)
	for _, b := range boxes {
		if b.problem == nil && !b.missing {
			owners[b.there.Root] = append(owners[b.there.Root], b)
		}
	}
	refuse := func(b, other *mailbox) {
		b.problem = fmt.Errorf("its mail is in %s, and that of %s in %s", b.there.Root, other.Address, other.there.Root)
	}
	for root, own := range owners {
		for i, b := range own {
			if len(own) > 1 {
				refuse(b, own[(i+1)%len(own)])
			}
			for above, _ := cutLast(root); above != ""; above, _ = cutLast(above) {
				for _, other := range owners[above] {
					if other.layout().Reaches(root[len(above)+1:]) {
						refuse(b, other)
						refuse(other, b)
					}
				}
			}
		}
	}
}

// checkMissing makes Maildirs that are not there a problem where that can hardly
// be: their mail was there before, or none is there at all, as when a disk is not
// mounted.
func (m *Migration) checkMissing() {
	found := slices.ContainsFunc(m.boxes, func(b *mailbox) bool { return b.there != nil && !b.missing })
	t := newTree(m.store)
	defer t.close()
	for _, b := range m.boxes {
		if b.problem != nil || !b.missing {
			continue
		}
		have, err := t.below(b.domain+"/"+b.local+"/"+maildirName, everywhere)
		had := slices.ContainsFunc(have, func(i item) bool { return i.message })
		switch {
		case err != nil:
			b.problem = err
		case had:
			b.problem = fmt.Errorf("%s on the old server: %w, and its mail was copied before", b.Store.Maildir, maildir.ErrNoRoot)
		case !found:
			b.problem = fmt.Errorf("%s on the old server: %w, nor one of any other account: is a disk not mounted there?", b.Store.Maildir, maildir.ErrNoRoot)
		}
	}
}

// compare says what to do in the mirror, over all mailboxes.
func (m *Migration) compare() (changes, error) {
	all := changes{kept: make(map[string]int)}
	t := newTree(m.mirror)
	defer t.close()
	for _, b := range m.boxes {
		if b.problem != nil {
			continue
		}
		want := b.wanted()
		have, err := t.mirrored(b, want)
		if err != nil {
			return all, err
		}
		c := compareTrees(want, have)
		if limit := m.limit(have); c.lost > limit {
			b.problem = &LossError{Lost: c.lost, Limit: limit, Path: b.Store.Maildir}
			continue
		}
		all.copies = append(all.copies, c.copies...)
		all.renames = append(all.renames, c.renames...)
		all.removes = append(all.removes, c.removes...)
		all.lost += c.lost
		maps.Copy(all.kept, c.kept)
	}
	return all, nil
}

// limit is how many messages a mailbox may have lost.
func (m *Migration) limit(have []item) int {
	if m.MaxDelete != 0 {
		return max(m.MaxDelete, 0)
	}
	messages := 0
	for _, i := range have {
		if i.message {
			messages++
		}
	}
	return max(messages/10, 100)
}

// LossError is a mailbox that has lost more messages on the old server than
// people delete.
type LossError struct {
	Lost, Limit int
	Path        string // on the old server
}

func (e *LossError) Error() string {
	return fmt.Sprintf("%d messages that were copied before are gone from %s on the old server, more than %d: nothing was changed here",
		e.Lost, e.Path, e.Limit)
}

// Hint says what to do.
func (e *LossError) Hint() string {
	return fmt.Sprintf("look there; if they were deleted, run it again with --max-delete %d", e.Lost)
}

// copy brings the mirror up to date.
func (m *Migration) copy(ctx context.Context, work changes, meter *meter, report *Report) error {
	pending := amountOf(work.copies)
	if err := m.room(pending); err != nil {
		return err
	}
	meter.begin(Copying, len(m.boxes), pending)
	defer meter.end()
	t := newTree(m.mirror)
	defer t.close()
	if err := errors.Join(t.remove(work.removes), t.rename(work.renames, m.rooted())); err != nil {
		return err
	}
	if err := t.makeDirs(work.copies, m.rooted()); err != nil {
		return err
	}
	c := copier{
		from: m.From, mirror: m.mirror, owner: m.owner(), chown: unix.Geteuid() == 0,
		program: m.Rsync, retries: m.retries,
	}
	if m.KBytesPerSecond > 0 {
		c.kbytes = max(m.KBytesPerSecond/m.Workers, 1)
	}
	err := c.copyAll(ctx, chunks(work.copies, work.kept, m.Workers), m.Workers, meter)
	report.Copied, report.Renamed, report.Removed = meter.done(), len(work.renames), len(work.removes)
	var partial *RsyncError
	if errors.As(err, &partial) && partial.Status == statusPartial {
		// What is missing will be named by who verifies.
		report.Warnings = append(report.Warnings, err.Error())
		return nil
	}
	return err
}

// place puts all mailboxes into the mail store.
func (m *Migration) place(ctx context.Context, meter *meter) error {
	meter.begin(Placing, len(m.boxes), Amount{})
	defer meter.end()
	done := counter{tell: meter.mailboxes}
	err := forEachSlot(ctx, m.Workers, batches(m.boxes, 1), func(_ context.Context, _ int, one []*mailbox) error {
		if b := one[0]; b.problem == nil {
			mirror := newTree(m.mirror)
			defer mirror.close()
			b.problem = m.placer(mirror).place(b)
		}
		done.add(1)
		return nil
	})
	if err != nil {
		return err
	}
	// Once for all: a power cut after this loses nothing.
	if err := unix.Syncfs(m.store.fd()); err != nil {
		return m.store.fail("write to disk", "", err)
	}
	target := m.From.Target()
	for _, b := range m.boxes {
		if b.problem == nil && !slices.Contains(m.state.Placed[target], b.Address) {
			m.state.Placed[target] = append(m.state.Placed[target], b.Address)
		}
	}
	return m.state.write(m.work, m.Now())
}

func (m *Migration) placer(mirror *tree) *placer {
	return &placer{
		mirror: mirror, store: m.store, owner: m.owner(), homes: &m.homes,
		id: m.state.ID + " " + m.From.Target(), since: m.state.Began,
	}
}

// Finish ends the migration of accounts, after their last pass has been verified:
// their mail is no copy any more, and no later pass will touch it. What was
// copied besides goes when no account is left, of this run or of an earlier one
// that moved others: theirs would have to be copied once more.
func (m *Migration) Finish(addresses []string) error {
	var errs []error
	for _, b := range m.boxes {
		if slices.Contains(addresses, b.Address) && b.domain != "" {
			errs = append(errs, release(m.store, b))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("end the migration: %w", err)
	}
	target := m.From.Target()
	m.state.forget(target, addresses...)
	if err := m.state.write(m.work, m.Now()); err != nil {
		return err
	}
	if len(addresses) < len(m.boxes) || len(m.state.Placed[target]) > 0 {
		return nil
	}
	return m.work.removeAll(mirrorName(target))
}
