package maildir

import "strings"

// Expected is what a server has to say of a folder, by its files.
type Expected struct {
	Folder   string // as users see it: in Unicode, levels separated by '/', "INBOX"
	Messages int    // -1: not known, see Tree.Broken
	Unseen   int
	// Octets of all messages as IMAP and POP3 count them, with CRLF; -1: not
	// known, as not all files state it.
	Octets      int64
	UIDValidity uint32 // 0: not known, the server makes one
	UIDNext     uint32 // 0: not known
	Subscribed  bool
	// Unspeakable is a folder that no client can name: its directory was not
	// named by a mail server.
	Unspeakable bool
}

// Expected says what a server has to say of the folders, in their order.
func (s State) Expected() []Expected {
	subscribed := make(map[string]bool)
	if len(s.Folders) > 0 {
		for _, key := range ParseSubscriptions(s.Control(&s.Folders[0], SubscriptionsName), s.Layout) {
			subscribed[key] = true
		}
	}
	all := make([]Expected, len(s.Folders))
	for i := range s.Folders {
		f := &s.Folders[i]
		all[i] = s.expectedOf(f)
		all[i].Subscribed = subscribed[f.Key]
	}
	return all
}

func (s State) expectedOf(f *Folder) Expected {
	e := Expected{Folder: FolderName(f.Key), Unspeakable: !speakable(f.Key)}
	list, err := ParseUIDList(s.Control(f, UIDListName))
	seen := make(map[string]bool)
	unlisted := uint32(0)
	for _, m := range f.Messages {
		if !m.Served() {
			continue
		}
		base := m.Base()
		if seen[base] {
			e.Messages = -1 // Dovecot gives one of them another name, sooner or later
		}
		seen[base] = true
		if e.Messages >= 0 {
			e.Messages++
		}
		if !strings.Contains(m.Flags(), "S") {
			e.Unseen++
		}
		octets, stated := m.VirtualSize()
		if !stated {
			octets, stated = list.Virtual[base]
		}
		if !stated {
			octets, stated = s.Octets[ID{f.Key, base}]
		}
		if !stated {
			e.Octets = -1
		} else if e.Octets >= 0 {
			e.Octets += octets
		}
		if list.UIDs[base] == 0 {
			unlisted++
		}
	}
	if err == nil {
		e.UIDValidity, e.UIDNext = list.Validity, list.Next+unlisted
	}
	return e
}
