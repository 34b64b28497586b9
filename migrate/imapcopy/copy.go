package imapcopy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
)

// maxRefused is how many messages of a user the new server may refuse before the
// copy ends: the next ones would have the same trouble.
const maxRefused = 20

// maxMessage is the largest message that is read, in octets: a server that lies
// must not fill the disk.
const maxMessage = 1 << 30

// fetchBatch is how many messages are asked for at once. They are read one by
// one, whatever their size.
const fetchBatch = 100

// copying is the copy of one user's mailbox under way.
type copying struct {
	user     User
	options  Options
	from, to *session
	result   Result
	event    Event
	spool    spool
	removals []func() error
	removing int
}

func (c *copying) run(parent context.Context) (err error) {
	var p pulse
	ctx, cancel := p.watch(parent, c.options.Silence)
	defer cancel()
	// The connections end with ctx, and then say only that they are closed.
	defer func() {
		if cause := context.Cause(ctx); err != nil && cause != nil {
			err = errors.Join(cause, err)
		}
	}()
	if c.from, err = connect(ctx, c.user.From, &p); err != nil {
		return err
	}
	defer c.from.close()
	if c.to, err = connect(ctx, c.user.To, &p); err != nil {
		return err
	}
	defer c.to.close()
	defer c.spool.close()

	originals, left, err := c.from.folders()
	if err != nil {
		return err
	}
	c.result.Left = left
	copies, _, err := c.to.folders()
	if err != nil {
		return err
	}
	here := map[string]folder{}
	for _, f := range copies {
		here[f.path] = f
	}
	c.event = Event{User: c.user.Name}
	if err := c.measure(originals); err != nil {
		return err
	}
	for _, f := range originals {
		copied, found := here[f.path]
		if copied, err = c.folder(f, copied, found); err != nil {
			return err
		}
		here[f.path] = copied
	}
	c.result.Folders = len(originals)
	if err := c.strangers(originals, copies); err != nil {
		return err
	}
	if err := c.remove(); err != nil {
		return err
	}
	return c.verify(originals, here)
}

// survey looks at the original only.
func (c *copying) survey(parent context.Context) error {
	var p pulse
	ctx, cancel := p.watch(parent, defaultSilence)
	defer cancel()
	var err error
	if c.from, err = connect(ctx, c.user.From, &p); err != nil {
		return err
	}
	defer c.from.close()
	originals, left, err := c.from.folders()
	if err != nil {
		return err
	}
	c.result.Left, c.result.Folders = left, len(originals)
	if err := c.measure(originals); err != nil {
		return err
	}
	c.result.Messages = c.event.Total
	return nil
}

// measure sums up what there is to do, for the progress.
func (c *copying) measure(folders []folder) error {
	for _, f := range folders {
		// STATUS=SIZE is an extension; without it the bytes come as they are read.
		wanted := &imap.StatusOptions{NumMessages: true, Size: c.from.Caps().Has(imap.CapStatusSize)}
		data, err := c.from.Status(f.name, wanted).Wait()
		var refused *imap.Error
		if wanted.Size && errors.As(err, &refused) {
			// Dovecot answers NO [INUSE] where it would have to read many messages
			// (mail_vsize_bg_after_count).
			data, err = c.from.Status(f.name, &imap.StatusOptions{NumMessages: true}).Wait()
		}
		if err != nil {
			return fmt.Errorf("measure folder %q: %w", f.path, err)
		}
		if data.NumMessages != nil {
			c.event.Total += int(*data.NumMessages)
		}
		if data.Size != nil {
			c.event.TotalBytes += *data.Size
		}
	}
	c.options.Progress(c.event)
	return nil
}

// folder makes one folder the same and returns what it is called here.
func (c *copying) folder(original, copied folder, found bool) (folder, error) {
	if !found {
		copied = folder{name: original.path, path: original.path}
		if err := c.to.Create(copied.name, nil).Wait(); err != nil && !isCode(err, imap.ResponseCodeAlreadyExists) {
			return copied, fmt.Errorf("make folder %q: %w", original.path, err)
		}
	}
	if original.subscribed && !copied.subscribed {
		if err := c.to.Subscribe(copied.name).Wait(); err != nil {
			return copied, fmt.Errorf("subscribe to folder %q: %w", original.path, err)
		}
	}
	c.event.Folder = original.path
	list, err := c.from.messages(original)
	if err != nil {
		return copied, err
	}
	have, err := c.to.messages(copied)
	if err != nil {
		return copied, err
	}
	p := pair(list, have)
	c.result.Messages += len(list)
	for _, both := range p.same {
		c.count(both[0].size)
	}
	c.options.Progress(c.event)
	if err := c.add(copied, p.missing); err != nil {
		return copied, fmt.Errorf("folder %q: %w", original.path, err)
	}
	if err := c.setFlags(copied, p.same); err != nil {
		return copied, fmt.Errorf("folder %q: %w", original.path, err)
	}
	c.plan(copied, p.extra)
	return copied, nil
}

func (c *copying) count(bytes int64) {
	c.event.Messages++
	c.event.Bytes += bytes
}

// add appends messages, oldest first, as they come from the other side.
func (c *copying) add(f folder, missing []mail) error {
	for len(missing) > 0 {
		batch := missing[:min(fetchBatch, len(missing))]
		missing = missing[len(batch):]
		byUID := map[imap.UID]mail{}
		var set imap.UIDSet
		for _, m := range batch {
			byUID[m.uid] = m
			set.AddNum(m.uid)
		}
		fetch := c.from.Fetch(set, &imap.FetchOptions{UID: true, BodySection: []*imap.FetchItemBodySection{{Peek: true}}})
		for data := c.from.next(fetch); data != nil; data = c.from.next(fetch) {
			var uid imap.UID
			for item := data.Next(); item != nil; item = data.Next() {
				switch item := item.(type) {
				case imapclient.FetchItemDataUID:
					uid = item.UID
				case imapclient.FetchItemDataBodySection:
					m, wanted := byUID[uid]
					if !wanted {
						return errors.Join(errors.New("the old server sends a message before its UID, or one not asked for"), c.abandon())
					}
					if err := c.append(f, m, item.Literal); err != nil {
						return errors.Join(err, c.abandon())
					}
				}
			}
		}
		if err := fetch.Close(); err != nil {
			return fmt.Errorf("read messages: %w", err)
		}
	}
	return nil
}

// abandon closes the connection on which a command is half read.
func (c *copying) abandon() error {
	c.from.close()
	return nil
}

// append writes one message, which is read whole before: were it handed on as
// it comes, an old server that breaks off would leave a command cut off at the
// new one. That the new server refuses a message is written down and the rest
// goes on; a broken connection is an error.
func (c *copying) append(f folder, m mail, literal imap.LiteralReader) error {
	var body io.Reader = strings.NewReader("")
	if literal != nil { // NIL is a message without an octet
		if literal.Size() > maxMessage {
			return fmt.Errorf("message with UID %d: the old server says that it has %d bytes, which is not believed", m.uid, literal.Size())
		}
		body = c.from.text(literal)
	}
	whole, err := c.spool.take(body)
	if err != nil {
		return fmt.Errorf("read message with UID %d: %w", m.uid, err)
	}
	command := c.to.Append(f.name, whole.size, &imap.AppendOptions{Flags: m.flags, Time: time.Unix(m.date, 0).UTC()})
	_, err = io.Copy(command, whole)
	err = errors.Join(err, command.Close())
	if err == nil {
		_, err = command.Wait()
	}
	var refused *imap.Error
	switch {
	case errors.As(err, &refused):
		c.result.Different = append(c.result.Different, fmt.Sprintf("folder %q: message with UID %d (%d bytes) is refused: %s", f.path, m.uid, whole.size, refused.Text))
		if len(c.result.Different) >= maxRefused {
			return fmt.Errorf("%d messages were refused, the last one: %w", len(c.result.Different), err)
		}
		return nil
	case err != nil:
		return fmt.Errorf("write message with UID %d: %w", m.uid, err)
	}
	c.result.Copied++
	c.result.Bytes += whole.size
	c.count(m.size)
	c.options.Progress(c.event)
	return nil
}

// setFlags gives copies the flags that their originals have by now.
func (c *copying) setFlags(f folder, same [][2]mail) error {
	type change struct {
		flags []imap.Flag
		set   imap.UIDSet
	}
	changes := map[string]*change{}
	for _, both := range same {
		if sameFlags(both[0].flags, both[1].flags) {
			continue
		}
		name := fmt.Sprint(both[0].flags)
		if changes[name] == nil {
			changes[name] = &change{flags: both[0].flags}
		}
		changes[name].set.AddNum(both[1].uid)
		c.result.Flagged++
	}
	if len(changes) == 0 {
		return nil
	}
	if _, err := c.to.Select(f.name, nil).Wait(); err != nil {
		return fmt.Errorf("open: %w", err)
	}
	for _, change := range changes {
		store := &imap.StoreFlags{Op: imap.StoreFlagsSet, Silent: true, Flags: change.flags}
		if err := c.to.Store(change.set, store, nil).Close(); err != nil {
			return fmt.Errorf("set flags: %w", err)
		}
	}
	return nil
}

func isCode(err error, code imap.ResponseCode) bool {
	var refused *imap.Error
	return errors.As(err, &refused) && refused.Code == code
}
