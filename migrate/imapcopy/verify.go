package imapcopy

import (
	"fmt"
	"slices"

	"github.com/emersion/go-imap/v2"
)

// TooManyError says that a last pass would remove more than it may.
type TooManyError struct{ Messages, Limit int }

// Error says how many, and that nothing was done.
func (e *TooManyError) Error() string {
	return fmt.Sprintf("%d messages here are no more on the old server, and at most %d may be removed: removed none", e.Messages, e.Limit)
}

// Hint says what to do.
func (e *TooManyError) Hint() string {
	return "if people did delete that many, raise --max-delete; if not, look at the old server first"
}

// plan notes what a last pass removes. Nothing is removed before all of it is
// known: a folder that the old server did not show would cost its mail here.
func (c *copying) plan(f folder, extra []mail) {
	if !c.options.Remove || len(extra) == 0 {
		return
	}
	var set imap.UIDSet
	for _, m := range extra {
		set.AddNum(m.uid)
	}
	c.removing += len(extra)
	c.removals = append(c.removals, func() error {
		if _, err := c.to.Select(f.name, nil).Wait(); err != nil {
			return fmt.Errorf("open folder %q: %w", f.path, err)
		}
		deleted := &imap.StoreFlags{Op: imap.StoreFlagsAdd, Silent: true, Flags: []imap.Flag{imap.FlagDeleted}}
		if err := c.to.Store(set, deleted, nil).Close(); err != nil {
			return fmt.Errorf("remove from folder %q: %w", f.path, err)
		}
		if err := c.to.UIDExpunge(set).Close(); err != nil {
			return fmt.Errorf("remove from folder %q: %w", f.path, err)
		}
		c.result.Removed += len(extra)
		return nil
	})
}

// strangers plans to empty the folders that are only here. The folders
// themselves stay: Dovecot makes some for everybody.
func (c *copying) strangers(originals, copies []folder) error {
	for _, f := range copies {
		if slices.ContainsFunc(originals, func(o folder) bool { return o.path == f.path }) {
			continue
		}
		list, err := c.to.messages(f)
		if err != nil {
			return err
		}
		c.plan(f, list)
	}
	return nil
}

// remove does what was planned.
func (c *copying) remove() error {
	if limit := c.limit(); c.removing > limit {
		return &TooManyError{c.removing, limit}
	}
	for _, do := range c.removals {
		if err := do(); err != nil {
			return err
		}
	}
	return nil
}

// limit is how many messages may be removed. What is here before that is what the
// original has and what is to go.
func (c *copying) limit() int {
	if c.options.MaxRemove != 0 {
		return max(c.options.MaxRemove, 0)
	}
	return max((c.event.Total+c.removing)/10, 100)
}

// verify lists both sides anew and notes every difference, also in the text of
// some messages.
func (c *copying) verify(originals []folder, here map[string]folder) error {
	differ := func(format string, args ...any) {
		c.result.Different = append(c.result.Different, fmt.Sprintf(format, args...))
	}
	subscribed, known, err := c.to.subscriptions()
	if err != nil {
		return err
	}
	for _, original := range originals {
		list, err := c.from.messages(original)
		if err != nil {
			return err
		}
		copied, err := c.to.messages(here[original.path])
		if err != nil {
			return err
		}
		p := pair(list, copied)
		if len(p.missing) > 0 {
			differ("folder %q: %d messages are missing, the first with UID %d", original.path, len(p.missing), p.missing[0].uid)
		}
		if len(p.extra) > 0 && c.options.Remove {
			differ("folder %q: %d messages are here and not on the old server", original.path, len(p.extra))
		}
		for _, both := range p.same {
			if !sameFlags(both[0].flags, both[1].flags) {
				differ("folder %q: message with UID %d has flags %v there and %v here", original.path, both[0].uid, both[0].flags, both[1].flags)
			}
		}
		if err := c.compareTexts(original, here[original.path], sample(p.same, c.options.Sample), differ); err != nil {
			return err
		}
		if known && original.subscribed && !subscribed[here[original.path].name] {
			differ("folder %q: is subscribed there and not here", original.path)
		}
	}
	return nil
}
