package acme

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	lego "github.com/go-acme/lego/v5/acme"

	"mailstack/certs"
	"mailstack/certs/acme/pebble"
)

// fails expects an error of Obtain at a time.
func fails(t *testing.T, source *Source, now time.Time) error {
	t.Helper()
	_, err := source.Obtain(t.Context(), example, keys(newKey(t)), now)
	if err == nil {
		t.Fatal("no error")
	}
	return err
}

// refuse has the CA answer requests for a path with a problem.
func refuse(ca *pebble.CA, path string, status int, kind, detail, retryAfter string) {
	ca.Front.Intercept(func(w http.ResponseWriter, r *http.Request, _ string, forward http.HandlerFunc) {
		if strings.HasPrefix(r.URL.Path, path) {
			pebble.Refuse(w, status, kind, detail, retryAfter)
			return
		}
		forward(w, r)
	})
}

// TestRateLimited: what the authority says of its limits outlives the program,
// and nobody can hurry it.
func TestRateLimited(t *testing.T) {
	t.Parallel()
	start := time.Now()
	for _, test := range []struct {
		name, path, retryAfter string
		status                 int
		kind                   string
		wait                   time.Duration
	}{
		{"seconds", pebble.NewOrder, "7200", 429, "rateLimited", 2 * time.Hour},
		{"date", pebble.NewOrder, start.Add(90 * time.Minute).UTC().Format(http.TimeFormat), 429, "rateLimited", 90 * time.Minute},
		{"no time", pebble.NewAccount, "", 429, "rateLimited", limitedPause},
		{"absurd time", pebble.NewOrder, "99999999", 429, "rateLimited", longestWait},
		{"busy", pebble.Finalize, "600", 503, "serverInternal", 10 * time.Minute},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ca := pebble.Start(t, pebble.Options{})
			cfg := config(t, ca)
			refuse(ca, test.path, test.status, test.kind, "too much of it", test.retryAfter)
			refused(t, fails(t, New(cfg), start), "from "+pebble.Host+": "+test.kind+": too much of it", "")
			ca.Front.Intercept(nil)

			requests := ca.Front.Requests("")
			// A date is compared with the clock, which has gone on since start.
			almost := start.Add(test.wait - 30*time.Second)
			refused(t, fails(t, New(cfg), almost), pebble.Host+" is not asked before ", "The authority set this time")
			refused(t, fails(t, New(cfg).ByHand(), almost), pebble.Host+" is not asked before ", "also when asked for by hand")
			if n := ca.Front.Requests("") - requests; n > 0 {
				t.Errorf("%d requests while waiting", n)
			}
			warnings := New(cfg).Status(example, nil, almost).Warnings
			if len(warnings) != 1 || !strings.HasPrefix(warnings[0], "one failure since ") || !strings.Contains(warnings[0], "too much of it") {
				t.Errorf("warnings %q", warnings)
			}
			// Other names are another matter.
			other := certs.Names{Hostname: "other.example.org"}
			verify(t, ca, obtainAt(t, New(cfg), other, newKey(t), almost), other)

			verify(t, ca, obtainAt(t, New(cfg), example, newKey(t), start.Add(test.wait+time.Second)), example)
			if warnings := New(cfg).Status(example, nil, almost).Warnings; len(warnings) > 0 {
				t.Errorf("still warned after the success: %q", warnings)
			}
		})
	}
}

// TestFailedProofs: a name that cannot be proven fails with what was seen and
// what to do, is left alone longer and longer, and recovers.
func TestFailedProofs(t *testing.T) {
	t.Parallel()
	ca := pebble.Start(t, pebble.Options{})
	good := config(t, ca)
	bad := good
	bad.HTTPAddress = pebble.Address(pebble.FreePort(t)) // not where the CA looks

	now := time.Now()
	err := fails(t, New(bad), now)
	refused(t, err, "get a certificate for mail.example.org, imap.example.org, mta-sts.example.org from "+pebble.Host+": http-01 for ", "must reach this host from the internet")
	for _, name := range example.List() {
		if !strings.Contains(err.Error(), "http-01 for "+name+": connection: ") {
			t.Errorf("error %q does not say what is wrong with %s", err, name)
		}
	}
	for i, wait := range []time.Duration{5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 6 * time.Hour, 12 * time.Hour, 20 * time.Hour, 20 * time.Hour} {
		if i > 1 && testing.Short() {
			break
		}
		orders := ca.Orders()
		refused(t, fails(t, New(bad), now.Add(wait-time.Second)), "is not asked before "+utc(now.Add(wait)), "`mailstack cert renew` asks it at once")
		if ca.Orders() != orders {
			t.Error("an order while waiting")
		}
		now = now.Add(wait)
		fails(t, New(bad), now)
		if ca.Orders() != orders+1 {
			t.Errorf("%d orders after waiting, want 1", ca.Orders()-orders)
		}
	}
	// By hand, but not without end.
	refused(t, fails(t, New(bad).ByHand(), now.Add(askedPause-time.Second)), "is not asked before "+utc(now.Add(askedPause)), "Mend what failed")
	now = now.Add(askedPause)
	refused(t, fails(t, New(bad).ByHand(), now), "connection: ", "")
	// Another configuration is tried at once.
	verify(t, ca, obtainAt(t, New(good), example, newKey(t), now), example)
}

// TestOneNameFails: the names that are right are not mentioned.
func TestOneNameFails(t *testing.T) {
	t.Parallel()
	ca := pebble.Start(t, pebble.Options{Blocked: []string{"blocked.example.org"}})
	cfg := config(t, ca)
	names := certs.Names{Hostname: "mail.example.org", Aliases: []string{"blocked.example.org"}}
	_, err := New(cfg).Obtain(t.Context(), names, keys(newKey(t)), time.Now())
	refused(t, err, `rejectedIdentifier: Order included an identifier for which issuance is forbidden by policy: "blocked.example.org"`, "look at hostname, aliases and tls.names")
}

// TestIssuedForAnotherKey: an authority that answers with a certificate that is
// of no use is not believed.
func TestIssuedForAnotherKey(t *testing.T) {
	t.Parallel()
	ca := pebble.Start(t, pebble.Options{})
	cfg := config(t, ca)
	var first []byte
	swap := func(w http.ResponseWriter, r *http.Request, _ string, forward http.HandlerFunc) {
		if !strings.HasPrefix(r.URL.Path, pebble.Certificate) {
			forward(w, r)
			return
		}
		recorder := httptest.NewRecorder()
		forward(recorder, r)
		for key, values := range recorder.Header() {
			w.Header()[key] = values
		}
		w.Header().Del("Content-Length")
		if first == nil {
			first = recorder.Body.Bytes()
		}
		_, _ = w.Write(first)
	}
	ca.Front.Intercept(swap)
	obtain(t, cfg, example, newKey(t))
	refused(t, fails(t, New(cfg), time.Now()), "what the authority issued cannot be used: the certificate is for another key", "")
	ca.Front.Intercept(nil)
	verify(t, ca, obtain(t, cfg, example, newKey(t)), example)
}

// TestDamagedAccountKey: a person decides about an account, not we.
func TestDamagedAccountKey(t *testing.T) {
	t.Parallel()
	ca := pebble.Start(t, pebble.Options{})
	cfg := config(t, ca)
	obtain(t, cfg, example, newKey(t))
	s := New(cfg)
	write(t, s.dir+"/"+accountKeyFile, "not a key")
	problems := s.Status(example, nil, time.Now()).Problems
	if len(problems) != 1 || problems[0].Text != "holds no private key that can be read" || problems[0].Advice == "" {
		t.Errorf("problems %v", problems)
	}
	refused(t, fails(t, s, time.Now()), "holds no private key that can be read", "from a backup")
	// A record, however, is begun anew.
	write(t, s.dir+"/"+recordFile, "{")
	if status := s.Status(example, nil, time.Now()); len(status.Problems) != 1 {
		t.Errorf("problems %v", status.Problems)
	}
}

func TestDescribeAndAdvise(t *testing.T) {
	t.Parallel()
	const ns = "urn:ietf:params:acme:error:"
	ca := pebble.Start(t, pebble.Options{})
	j := &job{s: New(config(t, ca)), r: &record{}, names: example.List()}
	d, err := certs.MakePrivate(j.s.dir)
	if err != nil {
		t.Fatal(err)
	}
	j.d = d
	defer d.Close()
	if err := j.connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer j.close()
	by := func(challenge, kind, detail string) error {
		return &proofError{"mail.example.org", challenge, &lego.ProblemDetails{Type: ns + kind, Detail: detail, HTTPStatus: 403}}
	}
	proof := func(kind, detail string) error { return by(HTTP01, kind, detail) }
	for _, test := range []struct {
		challenge, webroot string
		err                error
		text, hint         string
	}{
		{HTTP01, "", proof("caa", "CAA record for mail.example.org prevents issuance"), "http-01 for mail.example.org: caa: CAA record", `0 issue "pebble.letsencrypt.org"`},
		{HTTP01, "", proof("dns", "no valid A records found"), "dns: no valid A records found", "mail.example.org needs an A or AAAA record"},
		{HTTP01, "", proof("unauthorized", "Invalid response: 404"), "unauthorized: Invalid response: 404", "Another program answered on port 80"},
		{HTTP01, "/srv/www", proof("unauthorized", "Invalid response: 404"), "", "serve the files in /srv/www"},
		{HTTP01, "", proof("connection", "Timeout during connect (likely firewall problem)"), "Timeout during connect", "Port 80 of mail.example.org must reach this host"},
		{TLSALPN01, "", by(TLSALPN01, "connection", "refused"), "tls-alpn-01 for mail.example.org: connection: refused", "Port 443 of mail.example.org"},
		{TLSALPN01, "", by(TLSALPN01, "tls", "no ALPN"), "", "Another program answered on port 443"},
		{DNS01, "", by(DNS01, "unauthorized", "No TXT record found"), "dns-01 for mail.example.org: unauthorized: No TXT", "TXT record _acme-challenge.mail.example.org"},
		{HTTP01, "", &lego.ProblemDetails{Type: ns + "userActionRequired", Detail: "new terms", Instance: "https://ca.example/tos", HTTPStatus: 403}, "userActionRequired: new terms", "https://ca.example/tos"},
		{HTTP01, "", &lego.ProblemDetails{Type: ns + "unauthorized", Detail: "account deactivated", HTTPStatus: 401}, "unauthorized: account deactivated", "account.key moved away"},
		{HTTP01, "", &lego.ProblemDetails{Type: ns + "invalidContact", Detail: "no MX.", HTTPStatus: 400}, "invalidContact: no MX", "tls.acme_email"},
		{HTTP01, "", &lego.ProblemDetails{HTTPStatus: 500}, "status 500", "The fault is the authority's"},
		{HTTP01, "", &lego.ProblemDetails{Type: ns + "compound", Detail: "several", HTTPStatus: 400, SubProblems: []lego.SubProblem{
			{Detail: "is a bad name", Identifier: lego.Identifier{Value: "imap.example.org"}},
		}}, "compound: several; imap.example.org: is a bad name", ""},
	} {
		j.s.cfg.Challenge, j.s.cfg.Webroot = test.challenge, test.webroot
		refused(t, j.explain("get it", test.err), test.text, test.hint)
	}
	joined := j.explain("get it", errors.Join(proof("connection", "a"), errors.Join(proof("connection", "b"))))
	if want := "get it: http-01 for mail.example.org: connection: a; http-01 for mail.example.org: connection: b"; joined.Error() != want || strings.Contains(joined.Hint(), "\n") {
		t.Errorf("joined: %q, hint %q", joined, joined.Hint())
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "120": 2 * time.Minute, "-5": 0, "soon": 0,
		now.Add(time.Hour).Format(http.TimeFormat): time.Hour, now.Add(-time.Hour).Format(http.TimeFormat): 0,
	} {
		if got := parseRetryAfter(value, now); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}

// TestReplaces: an order names the certificate that it replaces, and is placed
// without where the authority does not want to know.
func TestReplaces(t *testing.T) {
	t.Parallel()
	ca := pebble.Start(t, pebble.Options{})
	cfg := config(t, ca)
	var named []string
	object := true
	ca.Front.Intercept(func(w http.ResponseWriter, r *http.Request, payload string, forward http.HandlerFunc) {
		if r.URL.Path == pebble.NewOrder {
			var placed struct{ Replaces string }
			_ = json.Unmarshal([]byte(payload), &placed)
			named = append(named, placed.Replaces)
			if placed.Replaces != "" && object {
				pebble.Refuse(w, http.StatusNotFound, "malformed", "could not find an order for the given certificate", "")
				return
			}
		}
		forward(w, r)
	})
	first := obtain(t, cfg, example, newKey(t))
	obtain(t, cfg, example, newKey(t))
	object = false
	other := certs.Names{Hostname: "elsewhere.example.net"}
	obtain(t, cfg, other, newKey(t)) // replaces nothing
	third := obtain(t, cfg, example, newKey(t))
	verify(t, ca, third, example)
	shape := ""
	for _, id := range named {
		shape += fmt.Sprint(id != "", " ")
	}
	if shape != "false true false false true " {
		t.Errorf("orders name a predecessor: %s", shape)
	}
	if id := named[len(named)-1]; strings.Contains(id, fmt.Sprintf("%x", first[0].SerialNumber)) {
		t.Errorf("the last order replaces the first certificate: %s", id)
	}
}
