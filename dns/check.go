package dns

import (
	"context"
	"fmt"
	"slices"
	"sync"

	mdns "github.com/miekg/dns"
	"golang.org/x/sync/errgroup"
)

// Asker answers questions as the name servers of a zone do.
type Asker interface {
	// Ask follows aliases. A zone has several servers; another turn begins with
	// another one of them. That there are no such records is no error.
	Ask(ctx context.Context, name string, rrtype uint16, turn int) (Answer, error)
}

// Answer is what a name server says.
type Answer struct {
	Records []mdns.RR // of the type that was asked for
	Aliases []string  // the names that CNAME records led to, fully qualified
	Server  string    // who said so, for people
	Signed  bool      // its zone is signed (DNSSEC)
	Servers int       // how many could be asked: addresses of the zone's name servers
}

// Status is how a record was found.
type Status int

// The states of a record.
const (
	OK      Status = iota
	Warning        // it is recommended and not there, or not at every server
	Wrong          // it is required and not there, or says something else
	Unknown        // nobody answered
)

// String is the word that JSON uses.
func (s Status) String() string { return [...]string{"ok", "warning", "wrong", "unknown"}[s] }

// MarshalText is String.
func (s Status) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Finding is how a record was found.
type Finding struct {
	Record Record
	Status Status
	Seen   []string // the data of what is there instead, or is as good
	Words  string   // what is the matter, or what there is to say although all is well; may be empty
	Server string   // who was asked; empty where nobody answered
}

// atOnce is how many questions are under way at the same time.
const atOnce = 16

// Check compares what is needed with what an asker says, all of it within the
// time of ctx. What is not as it should be is asked once more, of another server
// where there is one.
//
// Where the host's address is not known, that which its name has is taken for it.
func Check(ctx context.Context, p Plan, asker Asker) Report {
	if len(p.Host.Addresses) > 0 {
		return check(ctx, p, asker)
	}
	lost := twice(locate(ctx, &p, asker, 0), func() Finding { return locate(ctx, &p, asker, 1) })
	report := check(ctx, p, asker)
	if lost.Status != OK {
		report.Findings = append([]Finding{lost}, report.Findings...)
	}
	return report
}

// locate makes the plan one for the addresses that the host's name has. That it
// has none is the finding.
func locate(ctx context.Context, p *Plan, asker Asker, turn int) Finding {
	f := Finding{Status: Wrong, Record: Record{
		RR: &mdns.A{Hdr: header(p.Host.Name, mdns.TypeA)}, Kind: KindAddress, Required: true, Reason: addressReason,
	}}
	h := p.Host
	for _, rrtype := range []uint16{mdns.TypeA, mdns.TypeAAAA} {
		answer, err := asker.Ask(ctx, h.Name, rrtype, turn)
		if err != nil {
			f.Status, f.Words = Unknown, err.Error()
			return f
		}
		f.Server = answer.Server
		h.Addresses = append(h.Addresses, addresses(answer.Records)...)
	}
	if len(h.Addresses) > 0 {
		f.Status = OK
		*p = Needed(h, p.domains)
		p.note("this host's own address is not public: that of its name is taken for it (--address)")
	}
	return f
}

func check(ctx context.Context, p Plan, asker Asker) Report {
	report := Report{Plan: p, Findings: make([]Finding, len(p.Records))}
	first, second := newView(p, asker, 0), newView(p, asker, 1)
	var group errgroup.Group
	group.SetLimit(atOnce)
	for i, r := range p.Records {
		group.Go(func() error {
			report.Findings[i] = twice(first.find(ctx, r), func() Finding { return second.find(ctx, r) })
			return nil
		})
	}
	_ = group.Wait() // what failed is a finding
	return report
}

// twice looks again before it alarms.
func twice(f Finding, again func() Finding) Finding {
	if f.Status == OK {
		return f
	}
	g := again()
	switch {
	case g.Status == Unknown:
		return f
	case g.Status == OK && f.Status != Unknown && g.Server != f.Server:
		f.Status, f.Words = Warning, fmt.Sprintf("not at every name server yet: %s has it, and %s does not", g.Server, f.Server)
		return f
	}
	return g
}

// view is one look at all records; each question is put once.
type view struct {
	plan  Plan
	asker Asker
	turn  int

	mu    sync.Mutex
	asked map[string]func() (Answer, error)
}

func newView(p Plan, asker Asker, turn int) *view {
	return &view{plan: p, asker: asker, turn: turn, asked: map[string]func() (Answer, error){}}
}

func (v *view) ask(ctx context.Context, name string, rrtype uint16) (Answer, error) {
	name = mdns.CanonicalName(name)
	key := name + " " + mdns.TypeToString[rrtype]
	v.mu.Lock()
	get, ok := v.asked[key]
	if !ok {
		get = sync.OnceValues(func() (Answer, error) { return v.asker.Ask(ctx, name, rrtype, v.turn) })
		v.asked[key] = get
	}
	v.mu.Unlock()
	return get()
}

// judge compares a record with an answer.
type judge func(ctx context.Context, v *view, r Record, a Answer) (Status, string, error)

// judges are those of the kinds of records.
var judges = map[string]judge{
	KindAddress: judgeAddress, KindPTR: judgePTR, KindMX: judgeMX, KindSPF: judgeSPF, KindDKIM: judgeDKIM,
	KindDMARC: judgeDMARC, KindTLSRPT: judgeTLSRPT, KindMTASTS: judgeMTASTS, KindTLSA: judgeTLSA, KindSRV: judgeSRV,
	KindAutoconfig: judgeAlias, KindCAA: judgeCAA,
}

// missing is the state of a record that is not there.
func (r Record) missing() Status {
	if r.Required {
		return Wrong
	}
	return Warning
}

func (v *view) find(ctx context.Context, r Record) Finding {
	f := Finding{Record: r}
	rrtype := r.RR.Header().Rrtype
	if rrtype == mdns.TypeCNAME { // any way that leads to an address is as good
		rrtype = mdns.TypeA
	}
	answer, err := v.ask(ctx, r.Name(), rrtype)
	if err == nil {
		f.Server = answer.Server
		for _, rr := range answer.Records {
			f.Seen = append(f.Seen, value(rr))
		}
		slices.Sort(f.Seen)
		f.Status, f.Words, err = judges[r.Kind](ctx, v, r, answer)
	}
	if err != nil {
		f.Status, f.Words = Unknown, err.Error()
	}
	return f
}
