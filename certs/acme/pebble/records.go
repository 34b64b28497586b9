package pebble

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"
)

// Records is a name server that knows every name as Host and whose TXT and
// CNAME records can be set. It knows no zones. (Pebble's own, challtestsrv, cannot
// be had twice in one process: all answer with the records of the last one.)
type Records struct {
	Address string // host:port

	mu    sync.Mutex
	txt   map[string][]string
	cname map[string]string
}

func startRecords(t testing.TB) *Records {
	t.Helper()
	r := &Records{Address: Address(FreePort(t)), txt: map[string][]string{}, cname: map[string]string{}}
	packets, err := net.ListenPacket("udp", r.Address)
	if err != nil {
		t.Fatal(err)
	}
	streams, err := net.Listen("tcp", r.Address)
	if err != nil {
		t.Fatal(err)
	}
	for _, server := range []*dns.Server{{PacketConn: packets, Handler: r}, {Listener: streams, Handler: r}} {
		started := make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		go func() { _ = server.ActivateAndServe() }()
		<-started
		t.Cleanup(func() { _ = server.Shutdown() })
	}
	return r
}

// ServeDNS implements [dns.Handler].
func (r *Records) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := new(dns.Msg).SetReply(q)
	m.RecursionAvailable = true
	name := strings.ToLower(q.Question[0].Name)
	header := func(rrtype uint16) dns.RR_Header {
		return dns.RR_Header{Name: name, Rrtype: rrtype, Class: dns.ClassINET}
	}
	if target := r.cname[name]; target != "" {
		m.Answer = append(m.Answer, &dns.CNAME{Hdr: header(dns.TypeCNAME), Target: target})
		name = target
	}
	switch q.Question[0].Qtype {
	case dns.TypeA:
		m.Answer = append(m.Answer, &dns.A{Hdr: header(dns.TypeA), A: net.ParseIP(Host)})
	case dns.TypeTXT:
		for _, value := range r.txt[name] {
			m.Answer = append(m.Answer, &dns.TXT{Hdr: header(dns.TypeTXT), Txt: []string{value}})
		}
	}
	_ = w.WriteMsg(m)
}

// AddTXT adds a value to a name (with the dot at its end).
func (r *Records) AddTXT(name, value string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.txt[name] = append(r.txt[name], value)
}

// RemoveTXT removes all values of a name.
func (r *Records) RemoveTXT(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.txt, name)
}

// TXT is what a name has.
func (r *Records) TXT(name string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.txt[name])
}

// CNAME makes a name another one.
func (r *Records) CNAME(name, target string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cname[name] = target
}

// Serve starts an http service that sets records as httpreq expects it, and
// returns its URL: https://go-acme.github.io/lego/dns/httpreq/
func (r *Records) Serve(t testing.TB) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		var message struct{ FQDN, Value string }
		if err := json.NewDecoder(req.Body).Decode(&message); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		switch req.URL.Path {
		case "/present":
			r.AddTXT(message.FQDN, message.Value)
		case "/cleanup":
			r.RemoveTXT(message.FQDN)
		default:
			http.NotFound(w, req)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}
