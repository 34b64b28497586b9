package dns

import (
	"context"
	"fmt"
	"strings"
	"time"

	mdns "github.com/miekg/dns"
)

// SigningRecord is the name and the text of the TXT record of a domain's key.
func SigningRecord(domain string, k SigningKey) (name, value string) {
	return k.Selector + "._domainkey." + domain, "v=DKIM1; k=" + k.Type + "; p=" + k.PublicKey
}

// addSigning adds the records of a domain's keys. Without that of an active key
// signatures are worth nothing; a next one waits for its record.
func (p *Plan) addSigning(d Domain) {
	for _, k := range d.Signing {
		name, value := SigningRecord(d.Name, k)
		reason := ""
		switch k.State {
		case "next":
			reason = "the key that follows: it signs when every name server of the domain has its record"
		case "retiring":
			reason = "still needed until " + k.Until.Format(time.DateOnly) + ": mail that this key has signed may be on its way"
		case "retired":
			p.note("%s: may be removed, nobody needs it any more", name)
			continue
		default:
			reason = "receivers verify signatures by it, as this key signs"
		}
		p.add(KindDKIM, d.Name, k.State == "active", text(name, value), "%s", reason)
	}
}

// AllAsker asks every name server of a zone.
type AllAsker interface {
	// AskAll gives the answer of each server that answers, or an error where none
	// does.
	AskAll(ctx context.Context, name string, rrtype uint16) ([]Answer, error)
}

// Sight is where the record of a key was seen.
type Sight struct {
	With    []string // the servers that have it
	Without []string // those that have none of that name, or another one
	Words   string   // what is wrong with another one; "" where there is none
}

// Everywhere says whether receivers see the record, whomever they ask. None of them
// can remember that it was not there: nobody asks for a key before it signs.
func (s Sight) Everywhere() bool { return len(s.With) > 0 && len(s.Without) == 0 }

// Nowhere says whether no server has a record of that name.
func (s Sight) Nowhere() bool { return len(s.Without) > 0 && len(s.With) == 0 && s.Words == "" }

// String says what there is to wait for.
func (s Sight) String() string {
	switch {
	case s.Everywhere():
		return "at every name server"
	case s.Words != "":
		return fmt.Sprintf("%s at %s", s.Words, strings.Join(s.Without, ", "))
	case len(s.With) > 0:
		return fmt.Sprintf("not at every name server yet: %s has it, and %s does not", strings.Join(s.With, ", "), strings.Join(s.Without, ", "))
	}
	return "not there yet"
}

// FindKey looks for the record of a domain's key.
func FindKey(ctx context.Context, asker AllAsker, domain string, k SigningKey) (s Sight, err error) {
	name, value := SigningRecord(domain, k)
	answers, err := asker.AskAll(ctx, name, mdns.TypeTXT)
	if err != nil {
		return s, err
	}
	record := Record{RR: text(name, value), Kind: KindDKIM, Domain: domain, Required: true}
	for _, a := range answers {
		status, words, err := judgeDKIM(ctx, nil, record, a)
		if err != nil {
			return s, err
		}
		if status == OK {
			s.With = append(s.With, a.Server)
			continue
		}
		if s.Without = append(s.Without, a.Server); words != "" {
			s.Words = words
		}
	}
	return s, nil
}
