package e2e

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
)

// TestDANE: the TLSA records are those of the key that is served and of the one
// that will be; with tls.reuse_key a renewal keeps the first until it is told to
// roll over, and without it takes the second.
func TestDANE(t *testing.T) {
	t.Parallel()
	s := newSmallStack(t)
	s.set(t, "tls.reuse_key", "true")
	s.up(t, "--no-probe")

	first := s.tlsa(t)
	if got := s.servedPin(t); first.served != got {
		t.Fatalf("the record is %s, the key that is served %s", first.served, got)
	}
	zone := s.mustRun(t, "cert", "show", "--tlsa")
	for _, key := range listeners {
		port := s.port(key)
		if key == "smtp" {
			port = 25 // which other servers ask for, whatever is handed on to the listener
		}
		for _, pin := range []string{first.served, first.next} {
			if record := fmt.Sprintf("_%d._tcp.%s. IN TLSA 3 1 1 %s ;", port, s.hostname(), pin); !strings.Contains(zone, record) {
				t.Errorf("no record %q in\n%s", record, zone)
			}
		}
	}

	s.mustRun(t, "cert", "renew")
	if kept := s.tlsa(t); kept != first || s.servedPin(t) != first.served {
		t.Errorf("renewed with keys reused: %+v, was %+v", kept, first)
	}
	s.mustRun(t, "cert", "renew", "--rollover")
	second := s.tlsa(t)
	if second.served != first.next || s.servedPin(t) != first.next {
		t.Errorf("rolled over to %+v, announced was %s", second, first.next)
	}
	if second.next == first.served || second.next == second.served {
		t.Errorf("no new key was made ahead: %+v", second)
	}

	s.set(t, "tls.reuse_key", "false")
	s.mustRun(t, "cert", "renew")
	if third := s.tlsa(t); third.served != second.next || s.servedPin(t) != second.next {
		t.Errorf("renewed to %+v, announced was %s", third, second.next)
	}
	s.testOtherKindOfKey(t)
}

// testOtherKindOfKey: a key of another kind is announced before it is served.
func (s *Stack) testOtherKindOfKey(t *testing.T) {
	before := s.tlsa(t)
	s.set(t, "tls.key", quote("rsa"))
	if r := s.run(t, "cert", "show", "--tlsa"); r.code != 0 || !strings.Contains(r.stderr, "note: the next keys are not all made yet") {
		t.Errorf("no word of the key that is still to be made: %v", r)
	}
	const note = "note: the certificate has another kind of key (ecdsa) than is wanted (rsa): with DANE, publish what `mailstack cert show --tlsa` prints"
	if r := s.up(t, "--no-probe"); !strings.Contains(r.stderr, note) {
		t.Errorf("up does not say %q: %v", note, r)
	}
	announced := s.tlsa(t)
	if announced.served != before.served || s.servedPin(t) != before.served || announced.next == before.next {
		t.Errorf("announced %+v, was %+v", announced, before)
	}
	if p := s.run(t, "plan", "--exit-code"); p.code != 0 {
		t.Errorf("something is left to do: %v", p)
	}
	s.mustRun(t, "cert", "renew")
	if after := s.tlsa(t); after.served != announced.next || s.servedPin(t) != announced.next {
		t.Errorf("renewed to %+v, announced was %s", after, announced.next)
	}
}

// pins are the data of the two TLSA records.
type pins struct{ served, next string }

func (s *Stack) tlsa(t *testing.T) pins {
	t.Helper()
	records := decode[[]struct {
		Name string `json:"name"`
		Data string `json:"data"`
		Next bool   `json:"next"`
	}](t, s.mustRun(t, "cert", "show", "--tlsa", "--format", "json"))
	if len(records) != 2*len(listeners) {
		t.Fatalf("%d records: %v", len(records), records)
	}
	var p pins
	for _, r := range records {
		data := strings.TrimPrefix(r.Data, "3 1 1 ")
		if r.Next {
			p.next = data
		} else {
			p.served = data
		}
	}
	return p
}

// servedPin is what a client compares with the record "3 1 1" (RFC 6698 section 2.1).
func (s *Stack) servedPin(t *testing.T) string {
	t.Helper()
	d := s.line(t, "smtp")
	d.smtp(t, "")
	d.smtp(t, "EHLO client.example")
	d.say(t, "STARTTLS")
	d.startTLS(t, s)
	sum := sha256.Sum256(peer(d.conn).RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:])
}

func peer(conn net.Conn) *x509.Certificate {
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0]
}

// TestKeysAreMountedNowhere: what signs, and what will be served next, is no
// container's to see.
func TestKeysAreMountedNowhere(t *testing.T) {
	t.Parallel()
	s := shared(t)
	for _, service := range services {
		mounts := strings.Fields(docker(t, "inspect", "--format", "{{range .Mounts}}{{.Source}} {{end}}", s.container(service)))
		if len(mounts) == 0 || slices.ContainsFunc(mounts, func(source string) bool {
			return strings.HasPrefix(s.layout().CADir()+"/", strings.TrimSuffix(source, "/")+"/") || strings.HasPrefix(source, s.layout().CADir())
		}) {
			t.Errorf("%s mounts %q", service, mounts)
		}
	}
	for _, service := range []string{"dovecot", "postfix"} {
		out, _ := s.exec(t, service, "find", "/run/mailstack", "-name", "*.key", "-o", "-name", "pending.pem")
		if strings.TrimSpace(out) != "" {
			t.Errorf("%s sees %s", service, out)
		}
	}
}
