package probe

import (
	"crypto/tls"
	"strings"
	"testing"
	"time"
)

func TestCertificates(t *testing.T) {
	t.Parallel()
	for _, key := range allKeys {
		t.Run(key, func(t *testing.T) {
			t.Parallel()
			name := "cert." + key
			w := newWorld(t)
			got := check(t, w.start(key), name, 10*time.Second)
			if got.Status != OK || len(got.Values) != 2 {
				t.Fatalf("%s %s: %s", name, got.Status, got.Reason)
			}
			if left := got.Values[0]; left.Amount < 49 || left.Amount > 51 || left.Unit != "%" {
				t.Errorf("left: %+v", left)
			}

			other := newAuthority(t)
			for word, spoil := range map[string]func(w *world){
				"chain: TLS trouble: x509: certificate signed by unknown authority": func(w *world) { w.serve(other.leaf(t, testHost, time.Hour)) },
				"name: TLS trouble":              func(w *world) { w.serve(w.ca.leaf(t, "other.test", time.Hour)) },
				"lifetime: TLS trouble: expired": func(w *world) { w.serve(w.ca.leaf(t, testHost, -time.Hour)) },
				"on disk abababab":               func(w *world) { w.target.Fingerprint = strings.Repeat("AB", 32) },
				"is spoken":                      func(w *world) { w.tls.MinVersion = tls.VersionTLS10 },
				"STARTTLS":                       func(w *world) { w.noTLS = true },
			} {
				if word == "STARTTLS" && (serviceOf(key).implicit || key == "pop3" || key == "imap") {
					continue // covered by the checks of the listeners
				}
				w := newWorld(t)
				spoil(w)
				got := check(t, w.start(key), name, 10*time.Second)
				if got.Status != Critical || !strings.Contains(got.Reason, word) {
					t.Errorf("%s: %s %q", word, got.Status, got.Reason)
				}
				if len(got.Failures) != 1 {
					t.Errorf("%s: %d failures: %s", word, len(got.Failures), got.Reason)
				}
			}
		})
	}
}

// TestLifetimeIsJudgedByItsShare: a third less a day is a warning, a sixth is
// critical, whatever the length.
func TestLifetimeIsJudgedByItsShare(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for _, c := range []struct {
		whole, left time.Duration
		want        Status
	}{
		{90 * day, 60 * day, OK},
		{90 * day, 29*day + time.Hour, OK},
		{90 * day, 29*day - time.Hour, Warning},
		{90 * day, 15*day + time.Hour, Warning},
		{90 * day, 15*day - time.Hour, Critical},
		{6 * day, 25 * time.Hour, OK},
		{6 * day, 23 * time.Hour, Critical},
		{365 * day, 100 * day, Warning},
		{day, time.Hour, Critical},
		{0, time.Hour, OK}, // servers serve anything; it is a number all the same
	} {
		w := newWorld(t)
		leaf := w.ca.leaf(t, testHost, time.Hour)
		w.serve(leaf)
		cert := lifetime{leaf: parsed(t, leaf), now: time.Now()}
		cert.leaf.NotBefore, cert.leaf.NotAfter = cert.now.Add(c.left-c.whole), cert.now.Add(c.left)
		got := newResult("cert.imaps", cert.values()[0].judge(), nil, 0).Status
		if got != c.want {
			t.Errorf("%s of %s left: %s, want %s", c.left, c.whole, got, c.want)
		}
	}
}

// TestPortsServeTheSame: without a file to compare with, the port that differs
// is found by comparing ports.
func TestPortsServeTheSame(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	target := w.start("imaps", "submissions")
	other := newWorld(t)
	other.serve(w.ca.leaf(t, testHost, time.Hour))
	target.Ports["pop3s"] = other.start("pop3s").Ports["pop3s"]
	r := run(t, target, Options{Only: []string{"cert"}, Timeout: 10 * time.Second})
	for _, c := range r.Checks {
		if c.Name == "cert.pop3s" {
			wantFailure(t, c, KindDiffers, "")
		} else if c.Status != OK {
			t.Errorf("%s: %s", c.Name, c.Reason)
		}
	}
}

func TestCertificateByPortNumber(t *testing.T) {
	t.Parallel()
	target := Target{Addresses: newWorld(t).target.Addresses, Ports: map[string]uint16{"imap": 143, "imaps": 993}}
	must(t, CheckNames([]string{"cert.993", "cert"}))
	if got := selected(&target, []string{"cert.993"}, nil); len(got) != 1 || got[0].Name != "cert.imaps" {
		t.Errorf("cert.993 selects %v", got)
	}
	if got := selected(&target, []string{"cert"}, []string{"cert.993"}); len(got) != 1 || got[0].Name != "cert.imap" {
		t.Errorf("skipping cert.993 leaves %v", got)
	}
}

// TestAnotherCertificateThanOnDisk is nothing that people who log in notice: the
// checks of certificates find it, and no other one.
func TestAnotherCertificateThanOnDisk(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	target := w.start(allKeys...)
	target.Fingerprint = strings.Repeat("AB", 32)
	for _, c := range run(t, target, Options{Timeout: 20 * time.Second, Slow: time.Minute, Late: time.Minute}).Checks {
		if strings.HasPrefix(c.Name, "cert.") {
			wantFailure(t, c, KindCertificate, "")
		} else if c.Status != OK {
			t.Errorf("%s: %s", c.Name, c.Reason)
		}
	}
}
