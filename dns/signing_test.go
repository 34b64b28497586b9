package dns

import (
	"context"
	"strings"
	"testing"

	mdns "github.com/miekg/dns"
)

func (i internet) AskAll(ctx context.Context, name string, rrtype uint16) (all []Answer, err error) {
	for turn := range 2 {
		a, err := i.Ask(ctx, name, rrtype, turn)
		if err != nil {
			return nil, err
		}
		all = append(all, a)
	}
	return all, nil
}

// A key may sign when every server has its record, and the record of an old one is
// gone when none has it.
func TestFindKey(t *testing.T) {
	key := SigningKey{Selector: "ed-20261130", Type: "ed25519", PublicKey: "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="}
	name, value := SigningRecord("example.org", key)
	there := []mdns.RR{mustRR(t, name+`. TXT "`+value+`"`)}
	other := []mdns.RR{mustRR(t, name+`. TXT "`+strings.Replace(value, "11q", "22q", 1)+`"`)}
	for what, test := range map[string]struct {
		first, second       []mdns.RR
		everywhere, nowhere bool
		words               string
	}{
		"at both":            {there, there, true, false, "at every name server"},
		"at none":            {[]mdns.RR{}, nil, false, true, "not there yet"},
		"at the second only": {[]mdns.RR{}, there, false, false, "ns2.example has it, and ns1.example does not"},
		"at the first only":  {there, nil, false, false, "ns1.example has it, and ns2.example does not"},
		"another key":        {other, other, false, false, "it is another key at ns1.example, ns2.example"},
		"another key at one": {there, other, false, false, "it is another key at ns2.example"},
	} {
		s, err := FindKey(t.Context(), internet{records: test.second, lagging: test.first}, "example.org", key)
		if err != nil || s.Everywhere() != test.everywhere || s.Nowhere() != test.nowhere || !strings.Contains(s.String(), test.words) {
			t.Errorf("%s: %v, everywhere %v, nowhere %v, %v", what, s, s.Everywhere(), s.Nowhere(), err)
		}
	}
	silent := internet{silent: map[string]bool{name: true}}
	if s, err := FindKey(t.Context(), silent, "example.org", key); err == nil || s.Everywhere() || s.Nowhere() {
		t.Errorf("where nobody answers nothing is known: %v, %v", s, err)
	}
}
