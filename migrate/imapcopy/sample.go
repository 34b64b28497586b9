package imapcopy

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
)

// sample picks n of the pairs, spread evenly; all where n is negative.
func sample(same [][2]mail, n int) [][2]mail {
	if n < 0 || n >= len(same) {
		return same
	}
	var picked [][2]mail
	for i := range n {
		picked = append(picked, same[i*len(same)/n])
	}
	return picked
}

// compareTexts reads messages at both ends and notes those that are not the same,
// octet by octet. That their headers are, is how they were found.
func (c *copying) compareTexts(original, copied folder, same [][2]mail, differ func(format string, args ...any)) error {
	for len(same) > 0 {
		batch := same[:min(fetchBatch, len(same))]
		same = same[len(batch):]
		var there, here imap.UIDSet
		for _, both := range batch {
			there.AddNum(both[0].uid)
			here.AddNum(both[1].uid)
		}
		want, err := c.from.sums(original, there)
		if err != nil {
			return err
		}
		got, err := c.to.sums(copied, here)
		if err != nil {
			return err
		}
		for _, both := range batch {
			// One that is gone meanwhile is named by its absence next time.
			w, before := want[both[0].uid]
			g, after := got[both[1].uid]
			if !before || !after || w == g {
				continue
			}
			steady, err := c.steady(original, both[0].uid, w)
			if err != nil {
				return err
			}
			if !steady {
				c.result.Left = append(c.result.Left, fmt.Sprintf("folder %q: the old server makes the text of message with UID %d anew each time: it cannot be compared", original.path, both[0].uid))
				continue
			}
			differ("folder %q: message with UID %d has another text here", original.path, both[0].uid)
		}
		c.result.Compared += len(batch)
	}
	return nil
}

// steady says whether a message of the old server is the same when it is read
// again: servers that keep no mail as it came make it up, boundaries included.
func (c *copying) steady(f folder, uid imap.UID, before sum) (bool, error) {
	again, err := c.from.sums(f, imap.UIDSetNum(uid))
	if err != nil {
		return false, err
	}
	now, found := again[uid]
	return found && now == before, nil
}

type sum [sha256.Size]byte

// sums are the checksums of whole messages, which are read as they come.
func (s *session) sums(f folder, set imap.UIDSet) (map[imap.UID]sum, error) {
	if _, err := s.Select(f.name, &imap.SelectOptions{ReadOnly: true}).Wait(); err != nil {
		return nil, fmt.Errorf("open folder %q: %w", f.path, err)
	}
	all := map[imap.UID]sum{}
	fetch := s.Fetch(set, &imap.FetchOptions{UID: true, BodySection: []*imap.FetchItemBodySection{{Peek: true}}})
	for data := s.next(fetch); data != nil; data = s.next(fetch) {
		var uid imap.UID
		text := sha256.New()
		for item := data.Next(); item != nil; item = data.Next() {
			switch item := item.(type) {
			case imapclient.FetchItemDataUID:
				uid = item.UID
			case imapclient.FetchItemDataBodySection:
				if item.Literal == nil { // NIL is a message without an octet
					continue
				}
				if _, err := io.Copy(text, s.text(item.Literal)); err != nil {
					return nil, errors.Join(fmt.Errorf("read messages of folder %q: %w", f.path, err), fetch.Close())
				}
			}
		}
		all[uid] = sum(text.Sum(nil))
	}
	if err := fetch.Close(); err != nil {
		return nil, fmt.Errorf("read messages of folder %q: %w", f.path, err)
	}
	return all, nil
}
