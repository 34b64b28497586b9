package ask

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
)

// world is name servers on loopback addresses of their own, all on one port.
type world struct {
	port  string
	mu    sync.Mutex
	asked []string // "address name type"
}

// site is one name server.
type site struct {
	address string
	records []string // of zone files
	cuts    []string // zones that others serve, with their NS records and addresses among records
	rcode   int      // instead of answers
	deaf    bool     // it answers nothing
	lost    int      // so many first questions do not come to it
}

// newWorld starts name servers at addresses that nobody else has.
func newWorld(t *testing.T, sites ...site) *world {
	t.Helper()
	w := &world{}
	for _, s := range sites {
		w.start(t, s)
	}
	return w
}

func (w *world) start(t *testing.T, s site) {
	t.Helper()
	address := net.JoinHostPort(s.address, w.port)
	if w.port == "" {
		address = net.JoinHostPort(s.address, "0")
	}
	packets, err := net.ListenPacket("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	_, w.port, _ = net.SplitHostPort(packets.LocalAddr().String())
	streams, err := net.Listen("tcp", net.JoinHostPort(s.address, w.port))
	if err != nil {
		t.Fatal(err)
	}
	for _, server := range []*mdns.Server{{PacketConn: packets}, {Listener: streams}} {
		ready := make(chan struct{})
		server.NotifyStartedFunc = func() { close(ready) }
		server.Handler = mdns.HandlerFunc(func(rw mdns.ResponseWriter, q *mdns.Msg) { w.answer(t, s, rw, q) })
		done := make(chan error, 1)
		go func() { done <- server.ActivateAndServe() }()
		<-ready
		t.Cleanup(func() {
			if err := server.Shutdown(); err != nil {
				t.Error(err)
			}
			<-done
		})
	}
}

func (w *world) answer(t *testing.T, s site, rw mdns.ResponseWriter, q *mdns.Msg) {
	name, rrtype := q.Question[0].Name, q.Question[0].Qtype
	w.mu.Lock()
	w.asked = append(w.asked, fmt.Sprintf("%s %s %s", s.address, name, mdns.TypeToString[rrtype]))
	w.mu.Unlock()
	if s.deaf || len(w.to(s.address)) <= s.lost {
		return
	}
	reply := new(mdns.Msg).SetReply(q)
	reply.Rcode, reply.Authoritative = s.rcode, true
	for _, cut := range s.cuts {
		if mdns.IsSubDomain(cut, name) {
			reply.Authoritative = false
			reply.Ns = matching(t, s.records, cut, mdns.TypeNS)
			for _, rr := range reply.Ns {
				reply.Extra = append(reply.Extra, matching(t, s.records, rr.(*mdns.NS).Ns, mdns.TypeA)...)
			}
			send(t, rw, reply)
			return
		}
	}
	for _, rr := range matching(t, s.records, name, mdns.TypeCNAME) {
		reply.Answer = append(reply.Answer, rr)
		name = rr.(*mdns.CNAME).Target
	}
	reply.Answer = append(reply.Answer, matching(t, s.records, name, rrtype)...)
	reply.Answer = append(reply.Answer, matching(t, s.records, name, mdns.TypeRRSIG)...)
	if rw.RemoteAddr().Network() == "udp" {
		reply.Truncate(512)
	}
	send(t, rw, reply)
}

func send(t *testing.T, rw mdns.ResponseWriter, reply *mdns.Msg) {
	if err := rw.WriteMsg(reply); err != nil {
		t.Error(err)
	}
}

func matching(t *testing.T, records []string, name string, rrtype uint16) (all []mdns.RR) {
	for _, line := range records {
		rr, err := mdns.NewRR(line)
		if err != nil {
			t.Errorf("%s: %v", line, err)
			continue
		}
		if rr.Header().Rrtype == rrtype && mdns.CanonicalName(rr.Header().Name) == mdns.CanonicalName(name) {
			all = append(all, rr)
		}
	}
	return all
}

// to are the questions that a server was asked.
func (w *world) to(address string) (questions []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, line := range w.asked {
		if question, ok := strings.CutPrefix(line, address+" "); ok {
			questions = append(questions, question)
		}
	}
	return questions
}

func (w *world) client() *Client {
	return New(Options{Resolvers: []string{"127.83.0.1:" + w.port}, Port: w.port, Timeout: 200 * time.Millisecond})
}

// Addresses of the servers in these tests.
const (
	resolver = "127.83.0.1"
	top      = "127.83.0.2"
	first    = "127.83.0.3"
	second   = "127.83.0.4"
	other    = "127.83.0.5"
)

var (
	atResolver = site{address: resolver, records: []string{
		"test. NS a.top.test.", "a.top.test. A " + top, "ns.other.test. A " + other,
	}}
	atTop = site{address: top, cuts: []string{"example.test.", "other.test."}, records: []string{
		"example.test. NS ns1.example.test.", "example.test. NS ns2.example.test.",
		"ns1.example.test. A " + first, "ns2.example.test. A " + second,
		"other.test. NS ns.other.test.", // without its address
	}}
	zone = []string{
		"example.test. MX 10 mail.example.test.", "mail.example.test. A 192.0.2.25",
		"web.example.test. CNAME www.other.test.", "loop.example.test. CNAME loop2.example.test.", "loop2.example.test. CNAME loop.example.test.",
		`long.example.test. TXT "` + strings.Repeat("a", 250) + `" "` + strings.Repeat("b", 250) + `" "` + strings.Repeat("c", 250) + `"`,
		"example.test. RRSIG MX 13 2 3600 20300101000000 20200101000000 1 example.test. AAAA",
	}
	atFirst  = site{address: first, records: zone}
	atSecond = site{address: second, records: zone}
	atOther  = site{address: other, records: []string{"www.other.test. A 192.0.2.80"}}
)

// TestWalk: the answer comes from who is in charge, and the resolver hears of
// nothing that may not exist.
func TestWalk(t *testing.T) {
	w := newWorld(t, atResolver, atTop, atFirst, atSecond, atOther)
	c := w.client()
	answer, err := c.Ask(t.Context(), "example.test", mdns.TypeMX, 0)
	if err != nil || len(answer.Records) != 1 || answer.Records[0].(*mdns.MX).Mx != "mail.example.test." {
		t.Fatalf("%+v, %v", answer, err)
	}
	if answer.Server != "ns1.example.test. ("+first+":"+w.port+")" || !answer.Signed {
		t.Errorf("from %s, signed: %v", answer.Server, answer.Signed)
	}
	for range 2 {
		if answer, err := c.Ask(t.Context(), "_dmarc.example.test", mdns.TypeTXT, 0); err != nil || len(answer.Records) != 0 || answer.Signed {
			t.Errorf("what is not there: %+v, %v", answer, err)
		}
	}
	if asked := w.to(resolver); !slices.Equal(asked, []string{"test. NS", "a.top.test. A", "a.top.test. AAAA"}) {
		t.Errorf("the resolver was asked %q", asked)
	}
	if asked := w.to(top); !slices.Equal(asked, []string{"example.test. NS"}) {
		t.Errorf("the servers of test. were asked %q", asked)
	}
}

// TestByResolvers: who serves a zone is what the resolver says, where the internet
// has other servers; of the name itself it hears nothing.
func TestByResolvers(t *testing.T) {
	inside := site{address: resolver, records: append(slices.Clone(atResolver.records),
		"example.test. NS ns.inside.test.", "ns.inside.test. A "+other)}
	own := site{address: other, records: []string{`new.mail.example.test. TXT "inside"`}}
	w := newWorld(t, inside, atTop, atFirst, atSecond, own)
	c := New(Options{Resolvers: []string{resolver + ":" + w.port}, ByResolvers: true, Port: w.port, Timeout: 200 * time.Millisecond})
	for range 2 {
		answers, err := c.AskAll(t.Context(), "new.mail.example.test", mdns.TypeTXT)
		if err != nil || len(answers) != 1 || len(answers[0].Records) != 1 {
			t.Fatalf("%+v, %v", answers, err)
		}
	}
	if asked := w.to(resolver); !slices.Equal(asked, []string{"mail.example.test. NS", "example.test. NS", "ns.inside.test. A", "ns.inside.test. AAAA"}) {
		t.Errorf("the resolver was asked %q", asked)
	}
	if _, err := c.Ask(t.Context(), "www.example.nowhere", mdns.TypeTXT, 0); err == nil || !strings.Contains(err.Error(), "the zone of example.nowhere. is not known") {
		t.Errorf("a zone that nobody serves: %v", err)
	}
}

// TestTurn: another turn is another server's.
func TestTurn(t *testing.T) {
	w := newWorld(t, atResolver, atTop, atFirst, atSecond)
	c := w.client()
	for turn, want := range []string{first, second, first} {
		if answer, err := c.Ask(t.Context(), "example.test", mdns.TypeMX, turn); err != nil || !strings.Contains(answer.Server, want) {
			t.Errorf("turn %d: %s, %v", turn, answer.Server, err)
		}
	}
}

// TestAskAll: every server is asked, also behind an alias; one that is silent is
// passed over, and where all are there is no answer.
func TestAskAll(t *testing.T) {
	deaf, ahead := atSecond, atSecond
	deaf.deaf = true
	ahead.records = append(slices.Clone(zone), `new.example.test. TXT "new"`, "alias.example.test. CNAME new.example.test.")
	atFirst := atFirst
	atFirst.records = append(slices.Clone(zone), "alias.example.test. CNAME new.example.test.")
	counts := func(second site, name string) (counts []int) {
		t.Helper()
		answers, err := newWorld(t, atResolver, atTop, atFirst, second).client().AskAll(t.Context(), name, mdns.TypeTXT)
		if err != nil {
			t.Error(err)
		}
		for _, a := range answers {
			counts = append(counts, len(a.Records))
		}
		return counts
	}
	for _, name := range []string{"new.example.test", "alias.example.test"} {
		if got := counts(ahead, name); !slices.Equal(got, []int{0, 1}) {
			t.Errorf("%s at two servers, of which the second has it: %v", name, got)
		}
	}
	if got := counts(deaf, "long.example.test"); !slices.Equal(got, []int{1}) {
		t.Errorf("the only server that answers: %v", got)
	}
	silent := atFirst
	silent.deaf = true
	if answers, err := newWorld(t, atResolver, atTop, silent, deaf).client().AskAll(t.Context(), "new.example.test", mdns.TypeTXT); err == nil {
		t.Errorf("nobody answers: %v", answers)
	}
}

// TestAliases: an alias is followed to another zone, whose servers the resolver
// knows; a circle ends.
func TestAliases(t *testing.T) {
	w := newWorld(t, atResolver, atTop, atFirst, atSecond, atOther)
	c := w.client()
	answer, err := c.Ask(t.Context(), "web.example.test", mdns.TypeA, 0)
	if err != nil || len(answer.Records) != 1 || !slices.Equal(answer.Aliases, []string{"www.other.test."}) {
		t.Errorf("%+v, %v", answer, err)
	}
	if _, err := c.Ask(t.Context(), "loop.example.test", mdns.TypeA, 0); err == nil || !strings.Contains(err.Error(), "aliases (CNAME) follow one another") {
		t.Errorf("a circle: %v", err)
	}
}

// TestLongAnswer: what does not fit into a datagram comes over TCP.
func TestLongAnswer(t *testing.T) {
	w := newWorld(t, atResolver, atTop, atFirst, atSecond)
	answer, err := w.client().Ask(t.Context(), "long.example.test", mdns.TypeTXT, 0)
	if err != nil || len(answer.Records) != 1 || len(answer.Records[0].(*mdns.TXT).Txt) != 3 {
		t.Errorf("%+v, %v", answer, err)
	}
}

// TestTrouble: one server of two is enough, whatever the other one does; without
// any, the error says what they did.
func TestTrouble(t *testing.T) {
	deaf, lame := atFirst, atFirst
	deaf.deaf = true
	lame.rcode = mdns.RcodeRefused
	for name, broken := range map[string]site{"no answer": deaf, "answers REFUSED": lame} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, atResolver, atTop, broken, atSecond)
			answer, err := w.client().Ask(t.Context(), "mail.example.test", mdns.TypeA, 0)
			if err != nil || len(answer.Records) != 1 || !strings.Contains(answer.Server, second) {
				t.Errorf("%+v, %v", answer, err)
			}
		})
		t.Run("only "+name, func(t *testing.T) {
			also := broken
			also.address = second
			w := newWorld(t, atResolver, atTop, broken, also)
			_, err := w.client().Ask(t.Context(), "mail.example.test", mdns.TypeA, 0)
			if err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), ".example.test. (127.83.0.") {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestLost: a datagram that is lost is sent again, also to a server that is the only
// one.
func TestLost(t *testing.T) {
	zone, all := atOther, atFirst
	zone.lost, all.lost = 1, 1
	w := newWorld(t, atResolver, atTop, zone, all)
	if answer, err := w.client().Ask(t.Context(), "www.other.test", mdns.TypeA, 0); err != nil || len(answer.Records) != 1 {
		t.Errorf("the only server of a zone: %+v, %v", answer, err)
	}
	c := New(Options{Server: net.JoinHostPort(first, w.port), Timeout: 200 * time.Millisecond})
	if answer, err := c.Ask(t.Context(), "mail.example.test", mdns.TypeA, 0); err != nil || len(answer.Records) != 1 {
		t.Errorf("the only server that may be asked: %+v, %v", answer, err)
	}
	for _, address := range []string{other, first} {
		if asked := w.to(address); len(asked) != 2 {
			t.Errorf("%s was asked %q", address, asked)
		}
	}
}

// TestNoTop: a domain that nobody can have is said to be one.
func TestNoTop(t *testing.T) {
	w := newWorld(t, atResolver)
	if _, err := w.client().Ask(t.Context(), "mail.example.nowhere", mdns.TypeA, 0); err == nil || !strings.Contains(err.Error(), "there is no top-level domain nowhere.") {
		t.Errorf("%v", err)
	}
}

// TestServer: one server is asked everything, and nobody else anything.
func TestServer(t *testing.T) {
	w := newWorld(t, atResolver, atFirst)
	c := New(Options{Server: net.JoinHostPort(first, w.port), Resolvers: []string{net.JoinHostPort(resolver, w.port)}})
	if answer, err := c.Ask(t.Context(), "mail.example.test", mdns.TypeA, 1); err != nil || len(answer.Records) != 1 {
		t.Errorf("%+v, %v", answer, err)
	}
	if asked := w.to(resolver); len(asked) != 0 {
		t.Errorf("the resolver was asked %q", asked)
	}
}

// TestInTime: whatever hangs, the budget holds.
func TestInTime(t *testing.T) {
	deaf := atResolver
	deaf.deaf = true
	w := newWorld(t, deaf)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err := New(Options{Resolvers: []string{net.JoinHostPort(resolver, w.port)}}).Ask(ctx, "example.test", mdns.TypeMX, 0)
	if took := time.Since(began); err == nil || !strings.Contains(err.Error(), "no answer in time") || took > 2*time.Second {
		t.Errorf("%v after %v", err, took)
	}
}
