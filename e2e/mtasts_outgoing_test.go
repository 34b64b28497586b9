package e2e

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mailstack/certs/certstest"
	"mailstack/stack"
)

// servePolicies serves files on https://NAME/.well-known/mta-sts.txt, by name.
func servePolicies(t *testing.T, address string, certificate func(name string) tls.Certificate, policies map[string]string) {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(address, "443"))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			policy, ok := policies[r.Host]
			if !ok || r.URL.Path != "/.well-known/mta-sts.txt" {
				http.NotFound(w, r)
				return
			}
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			fmt.Fprint(w, policy)
		}),
		TLSConfig: &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			own := certificate(hello.ServerName)
			return &own, nil
		}},
		ReadHeaderTimeout: time.Minute,
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.ServeTLS(l, "", "") // until Close
	}()
	t.Cleanup(func() {
		server.Close()
		<-done
	})
}

// policyFile is a policy of a domain for the servers of a pattern.
func policyFile(mode, mx string) string {
	return fmt.Sprintf("version: STSv1\r\nmode: %s\r\nmx: %s\r\nmax_age: 604800\r\n", mode, mx)
}

// publicAuthority signs certificates of others.
type publicAuthority struct {
	pki          *certstest.PKI
	file         string // with its own certificate
	certificates map[string]tls.Certificate
	stranger     tls.Certificate // nobody signed it
}

func newPublicAuthority(t *testing.T) *publicAuthority {
	t.Helper()
	pki := certstest.New(t, time.Now())
	return &publicAuthority{
		pki: pki, certificates: map[string]tls.Certificate{}, stranger: throwaway(t, "stranger.example"),
		file: certstest.Put(t, filepath.Join(t.TempDir(), "ca.pem"), 0o644, certstest.Certificates(pki.Root)),
	}
}

func (a *publicAuthority) sign(t *testing.T, name string) {
	t.Helper()
	key := certstest.Key(t, "ecdsa")
	leaf := a.pki.Leaf(t, key, nil, name)
	a.certificates[name] = tls.Certificate{Certificate: [][]byte{leaf.Raw, a.pki.Middle.Raw}, PrivateKey: key}
}

// certificate is that of a name, or a stranger's.
func (a *publicAuthority) certificate(name string) tls.Certificate {
	if own, ok := a.certificates[name]; ok {
		return own
	}
	return a.stranger
}

// believed makes it the only authority that a stack's Postfix knows, and a name server
// its resolver.
func (a *publicAuthority) believed(t *testing.T, s *Stack, resolver string) {
	t.Helper()
	s.recreate(t, "postfix", func(config map[string]any) {
		host := config["HostConfig"].(map[string]any)
		host["Dns"] = []string{resolver}
		host["Binds"] = []string{a.file + ":/etc/ssl/certs/ca-certificates.crt:ro"}
	})
	s.ready(t, "postfix")
}

// TestOutgoingMTASTS: mail for a domain whose policy wants it goes by TLS to a server
// that the policy names, with a certificate for its name, or waits: also where TLS is
// not offered any more, and without the domain's web server after a restart. A policy
// that is only tried out, or whose web server has no certificate, holds nothing up.
// While nobody can say what a domain's policy is, mail waits.
func TestOutgoingMTASTS(t *testing.T) {
	t.Parallel()
	s := newSmallStack(t)
	s.up(t, "--no-probe")
	gateway := s.gateway(t)
	ca := newPublicAuthority(t)
	policies := map[string]string{}
	var records []string
	for _, d := range []struct{ name, mode, mx string }{
		{"good", "enforce", "*.good.example"},
		{"bad", "enforce", "mx.bad.example"},
		{"elsewhere", "enforce", "mx.other.example"},
		{"testing", "testing", "mx.other.example"},
		{"unsigned", "enforce", "mx.other.example"},
		{"plain", "", ""},
	} {
		domain, mx, web := d.name+".example", "mx."+d.name+".example", "mta-sts."+d.name+".example"
		records = append(records, domain+". MX 10 "+mx+".", mx+". A "+gateway)
		if d.name == "good" || d.name == "elsewhere" {
			ca.sign(t, mx)
		}
		if d.mode == "" {
			continue
		}
		if d.name != "unsigned" {
			ca.sign(t, web)
		}
		records = append(records, web+". A "+gateway, "_mta-sts."+domain+`. TXT "v=STSv1; id=20261130;"`)
		policies[web] = policyFile(d.mode, d.mx)
	}
	serveDNS(t, gateway, records...)
	t.Run("with the domains' web servers", func(t *testing.T) {
		servePolicies(t, gateway, ca.certificate, policies)
		ca.believed(t, s, gateway)
		o := &outgoing{Stack: s, exchangers: newExchangers(t, gateway, ca.certificate)}
		o.user, o.password = s.account(t)
		o.arrives(t, "good.example", true)
		if log := docker(t, "logs", s.container("postfix")); !strings.Contains(log, "Verified TLS connection established to mx.good.example[") {
			t.Error("the certificate was not verified")
		}
		o.waits(t, "bad.example", "Server certificate not ")
		elsewhere := o.waits(t, "elsewhere.example", "")
		for _, domain := range []string{"testing.example", "unsigned.example", "plain.example"} {
			o.arrives(t, domain, true)
		}
		o.stripped.Store(true)
		o.waits(t, "good.example", "TLS is required, but was not offered")
		o.arrives(t, "plain.example", false)
		if found, _ := o.got(elsewhere); found {
			t.Error("a server that the policy does not name got mail")
		}
	})

	docker(t, "restart", s.container("postfix"))
	s.ready(t, "postfix")
	o := &outgoing{Stack: s, exchangers: newExchangers(t, gateway, ca.certificate)}
	o.user, o.password = s.account(t)
	o.stripped.Store(true)
	o.waits(t, "good.example", "TLS is required, but was not offered")
	for _, command := range [][]string{{"rm", "private/sts"}, {stack.ReloadCmd}} { // who has the way open already has to ask again
		if out, code := s.exec(t, "postfix", command...); code != 0 {
			t.Fatal(out)
		}
	}
	unknown := o.waits(t, "plain.example", "client TLS configuration problem")
	docker(t, "restart", s.container("postfix"))
	s.ready(t, "postfix")
	s.flush(t)
	waitUntil(t, 30*time.Second, "what waited for a policy", func() (bool, string) {
		found, _ := o.got(unknown)
		return found, fmt.Sprint(s.delays(t))
	})
}
