package source

import (
	"context"
	_ "embed"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"mailstack/migrate/remote"
)

//go:embed script/survey.sh
var surveyScript string

// placesAtOnce is how many places one script looks at: few enough that something
// is heard of it from time to time.
const placesAtOnce = 50

// sight is what was seen of a place.
type sight struct {
	place
	seen  Seen
	other bool // a directory that is no Maildir

	files, bytes   int64
	sieve, scripts string
}

// survey looks at all places and decides for each account.
func (l *locator) survey(ctx context.Context, host *remote.Host) error {
	sights := make([]sight, 0, len(l.places))
	for batch := range slices.Chunk(l.places, placesAtOnce) {
		word := mark()
		args := []string{word}
		for _, p := range batch {
			args = append(args, p.store.Maildir, p.store.Control, p.store.Sieve, p.store.Scripts, p.below(l.facts))
		}
		out, err := host.Script(ctx, surveyScript, args...).Output()
		if err != nil {
			return fmt.Errorf("look at the mail on %s: %w", host.Target(), err)
		}
		parts, ended := split(out, word)
		if !ended || len(parts) != len(batch) {
			return fmt.Errorf("look at the mail on %s: the answer broke off after %d of %d places", host.Target(), len(parts), len(batch))
		}
		for i, part := range parts {
			sights = append(sights, parseSight(batch[i], part.body))
		}
		if l.o.Progress != nil {
			l.o.Progress(len(sights), len(l.places))
		}
	}
	byAccount := map[int][]sight{}
	for _, s := range sights {
		byAccount[s.account] = append(byAccount[s.account], s)
	}
	for account, own := range byAccount {
		l.decide(account, own)
	}
	return nil
}

// below is the directory that an account's scripts have to be in.
func (p place) below(f *Facts) string {
	if home := f.outside(p.home); home != "" {
		return home
	}
	if p.store.Scripts != "" {
		return path.Dir(p.store.Scripts)
	}
	if p.store.Sieve != "" {
		return path.Dir(p.store.Sieve)
	}
	return ""
}

// decide takes the one place that is there.
func (l *locator) decide(account int, own []sight) {
	if l.o.Layout != "" {
		l.decideGiven(account, own)
		return
	}
	address := l.list.Accounts[account].Address
	_, told := l.told[address]
	for i := range own {
		// A guess that is a directory of another kind was a wrong guess.
		if own[i].other && !told {
			own[i].seen.State, own[i].seen.Problem = Absent, ""
		}
	}
	chosen := own[0] // if nothing is there, the likeliest
	for _, s := range own[1:] {
		switch {
		case s.seen.State == Found && chosen.seen.State == Found && s.seen.Real != chosen.seen.Real:
			l.stores.ByAddress[address] = Seen{
				State: Unusable, UID: -1, GID: -1,
				Problem: fmt.Sprintf("there is mail in %s and in %s: say which it is (--layout)", clean(chosen.store.Maildir), clean(s.store.Maildir)),
			}
			return
		case s.seen.State > chosen.seen.State && chosen.seen.State != Found, s.seen.State == Found && chosen.seen.State != Found:
			chosen = s
		}
	}
	l.take(account, chosen)
}

// decideGiven takes the place that the given layout says, and notes where what
// Dovecot says, which comes behind it, is something else.
func (l *locator) decideGiven(account int, own []sight) {
	given := own[0]
	for _, word := range own[1:] {
		switch same := given.seen.Real == word.seen.Real; {
		case word.seen.State != Found:
		case same && given.store.Control != word.store.Control:
			given.seen.Control = first(word.store.Control, word.store.Maildir)
		case !same && word.seen.Messages > 0:
			given.seen.Elsewhere = word.store.Maildir
			if given.seen.Messages == 0 {
				given.seen.State, given.seen.Problem = Unusable, "there is no mail where --layout says, and there is in "+clean(word.store.Maildir)
			}
		}
	}
	l.take(account, given)
}

// take makes a place the account's.
func (l *locator) take(account int, chosen sight) {
	address := l.list.Accounts[account].Address
	store := chosen.store
	store.Files, store.Bytes = chosen.files, chosen.bytes
	store.Sieve, store.Scripts = chosen.sieve, chosen.scripts
	if chosen.seen.State == Unusable {
		store.Maildir = ""
	}
	l.list.Accounts[account].Store = store
	l.stores.ByAddress[address] = chosen.seen
}

// parseSight reads what script/survey.sh prints of a place.
func parseSight(p place, body string) sight {
	s := sight{place: p, seen: Seen{UID: -1, GID: -1, State: Unusable, Problem: "what it is could not be found out"}}
	at := clean(p.store.Maildir)
	for line := range strings.Lines(body) {
		word, rest, _ := strings.Cut(strings.TrimRight(line, "\n"), " ")
		switch word {
		case "state":
			s.seen.State, s.seen.Problem = stateOf(rest, at)
			s.other = rest == "other"
		case "real":
			s.seen.Real = rest
		case "owner":
			uid, gid, _ := strings.Cut(rest, " ")
			s.seen.UID, s.seen.GID = number(uid), number(gid)
		case "subscriptions":
			s.seen.Subscriptions = true
		case "magic":
			switch magic(rest) {
			case "compressed":
				s.seen.Compressed = true
			case "encrypted":
				s.seen.Encrypted = true
			}
		case "count":
			s.count(rest)
		case "sieve":
			if checked, err := checkPath(rest); err == nil {
				s.sieve = checked
			}
		case "sieve-outside":
			s.seen.Outside = first(clean(rest), "nowhere")
		case "scripts":
			if checked, err := checkPath(rest); err == nil {
				s.scripts = checked
			}
		}
	}
	switch {
	case s.seen.State != Found:
	case s.seen.Encrypted:
		s.seen.State, s.seen.Problem = Unusable, "its messages are encrypted (mail_crypt); only Dovecot there can read them"
	case s.seen.Compressed:
		s.seen.State, s.seen.Problem = Unusable, "its messages are compressed (zlib or mail_compress); only Dovecot there can read them"
	}
	return s
}

func stateOf(word, at string) (State, string) {
	switch word {
	case "maildir":
		return Found, ""
	case "absent", "empty": // nothing was delivered yet
		return Absent, ""
	case "closed":
		return Unusable, at + " cannot be read: log in as root, or use --sudo"
	case "dbox":
		return Unusable, at + " is dbox, not Maildir"
	case "file":
		return Unusable, at + " is a file (mbox?), not a Maildir"
	}
	return Unusable, at + " is no Maildir: it has neither cur nor new"
}

func (s *sight) count(text string) {
	var n []int64
	for field := range strings.FieldsSeq(text) {
		v, err := strconv.ParseInt(field, 10, 62)
		if err != nil || v < 0 {
			return
		}
		n = append(n, v)
	}
	if len(n) != 6 {
		return
	}
	s.files, s.bytes, s.seen.Messages, s.seen.Dotted, s.seen.Plain, s.seen.Odd = n[0], n[1], n[2], n[3], n[4], n[5]
}

// magic says by its first bytes what a message is whose size is odd. Those of
// the methods of Dovecot's compression (lib-compression/compression.c), and
// those of lib-dcrypt's streams.
func magic(hex string) string {
	for _, m := range []struct{ prefix, is string }{
		{"1f8b", "compressed"},             // gz
		{"425a68", "compressed"},           // bz2
		{"fd377a585a00", "compressed"},     // xz
		{"28b52ffd", "compressed"},         // zstd
		{"446f7665636f742d", "compressed"}, // "Dovecot-LZ4\r*\x9b\xc5"
		{"4352595054454403", "encrypted"},  // "CRYPTED\x03\x07"
	} {
		if strings.HasPrefix(hex, m.prefix) {
			return m.is
		}
	}
	return ""
}
