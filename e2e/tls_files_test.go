package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mailstack/certs"
	"mailstack/certs/certstest"
)

// TestModeIsSwitched: the file's tls.mode is changed there and back, with IMAP
// sessions open all the while; and what is in the files is served at once, or
// refused.
func TestModeIsSwitched(t *testing.T) {
	t.Parallel()
	s := newSmallStack(t)
	s.up(t, "--no-probe")
	own := s.certificate(t)
	sessions := s.idle(t, 5)
	started := s.started(t)

	pki := certstest.New(t, time.Now())
	cert, key := s.pemPair()
	first := s.writePair(t, pki)
	s.set(t, "tls.mode", quote("files"))
	s.set(t, "tls.cert_file", quote(cert))
	s.set(t, "tls.key_file", quote(key))
	s.up(t) // and its proof
	s.servesOn(t, listeners, first, s.own())
	if now := s.certificate(t); now.Mode != "files" || now.Certificate.Fingerprint != first {
		t.Errorf("shown: %+v", now)
	}
	if p := s.run(t, "plan", "--exit-code"); p.code != 0 {
		t.Errorf("something is left to do: %v", p)
	}

	t.Run("broken files are refused", func(t *testing.T) { s.testBrokenFiles(t, pki, first) })
	t.Run("watched", func(t *testing.T) { s.testWatched(t, pki) })

	t.Run("two kinds of key", func(t *testing.T) { s.testTwoKinds(t, pki) })

	w := s.watch(t)
	w.says(t, "watching "+cert)
	s.set(t, "tls.mode", quote("self-signed"))
	w.says(t, "settings     read again")
	s.up(t)
	back := s.certificate(t)
	if back.Authority == nil || back.Authority.Fingerprint != own.Authority.Fingerprint {
		t.Errorf("another CA than the one that devices trust: %+v", back.Authority)
	}
	s.servesOn(t, listeners, back.Certificate.Fingerprint, s.own())
	t.Run("watched by new settings", func(t *testing.T) { s.testWatcherFollows(t, w, pki, back.Certificate.Fingerprint) })
	sessions.live(t)
	if now := s.started(t); now != started {
		t.Errorf("a container was restarted:\n%s\n%s", started, now)
	}
}

// writePair puts a new certificate into the stack's files.
func (s *Stack) writePair(t *testing.T, pki *certstest.PKI) (fingerprint string) {
	t.Helper()
	cert, keyFile := s.pemPair()
	key := certstest.Key(t, "ecdsa")
	leaf := pki.Leaf(t, key, nil, s.hostname())
	certstest.Put(t, keyFile, 0o600, certstest.Forms(t, key)["SEC 1"])
	certstest.Put(t, cert, 0o644, pki.Chain(leaf))
	return certstest.Fingerprint(leaf)
}

// testBrokenFiles: each is refused with its sentence, and what is served stays.
func (s *Stack) testBrokenFiles(t *testing.T, pki *certstest.PKI, served string) {
	cert, key := s.pemPair()
	seen := 0
	for _, broken := range pki.Broken(t, s.hostname()) {
		for _, file := range []string{cert, key} {
			if err := os.RemoveAll(file); err != nil {
				t.Fatal(err)
			}
		}
		broken.Write(t, cert, key)
		want := "mailstack: " + strings.NewReplacer("$cert", cert, "$key", key).Replace(broken.Text)
		r := s.run(t, "cert", "renew")
		if r.code != 1 || !strings.HasPrefix(r.stderr, want) || !strings.Contains(r.stderr, "hint: What is served stays as it is.") {
			t.Errorf("%s: want %q, got %v", broken.Name, want, r)
		}
		for _, port := range []string{"imaps", "smtp"} {
			if got, err := s.served(t, port, s.own()); err != nil || got != served {
				t.Errorf("%s: %s serves %s, %v", broken.Name, port, got, err)
			}
		}
		seen++
	}
	if seen < 20 {
		t.Errorf("only %d broken files", seen)
	}
	// That a file is broken keeps nobody from starting the stack.
	if r := s.up(t, "--no-probe"); !strings.Contains(r.stderr, "warning: certificate: "+key+" ") && !strings.Contains(r.stderr, "warning: certificate: "+cert+" ") {
		t.Errorf("up does not warn: %v", r)
	}
	s.servesOn(t, listeners, served, s.own())
}

// testWatched: a changed file is served at once, a broken one told of.
func (s *Stack) testWatched(t *testing.T, pki *certstest.PKI) {
	w := s.watch(t)
	w.says(t, "watching ")
	w.says(t, "✗") // what the last test left
	first := s.writePair(t, pki)
	w.says(t, "renewed and installed: there is another one in the file")
	s.servesOn(t, listeners, first, s.own())

	cert, _ := s.pemPair()
	certstest.Put(t, cert, 0o644, []byte("half of a certif"))
	w.says(t, cert+" is not in PEM form")
	s.servesOn(t, []string{"imaps", "smtp"}, first, s.own())

	second := s.writePair(t, pki)
	waitUntil(t, 20*time.Second, "the second certificate", func() (bool, string) {
		got, err := s.served(t, "imaps", s.own())
		return got == second, fmt.Sprint(got, " ", err, " ", w)
	})
	s.servesOn(t, listeners, second, s.own())

	w.end(t)
}

// testTwoKinds: each client is served a certificate of the kind that it takes.
func (s *Stack) testTwoKinds(t *testing.T, pki *certstest.PKI) {
	cert, keyFile := s.pemPair()
	var chain, keys []byte
	want := map[string]string{}
	for _, kind := range []string{"rsa", "ed25519"} {
		key := certstest.Key(t, kind)
		leaf := pki.Leaf(t, key, nil, s.hostname())
		chain, keys = append(chain, certstest.Certificates(leaf)...), append(keys, certstest.Forms(t, key)["PKCS#8"]...)
		want[kind] = certstest.Fingerprint(leaf)
	}
	certstest.Put(t, keyFile, 0o600, keys)
	certstest.Put(t, cert, 0o644, chain, certstest.Certificates(pki.Middle, pki.Root))
	s.mustRun(t, "cert", "renew")
	for kind, fingerprint := range want {
		s.servesOn(t, listeners, fingerprint, certs.Asked{Name: s.hostname(), Kind: kind})
	}
}

// testWatcherFollows: a watcher does not go back to settings that it was started
// with.
func (s *Stack) testWatcherFollows(t *testing.T, w *watcher, pki *certstest.PKI, served string) {
	extra := filepath.Join(s.dir, "extra.pem")
	pki.Write(t, extra, "ecdsa", "mail.extra.example")
	s.set(t, "tls.extra", fmt.Sprintf("[%q]", extra))
	w.says(t, "watching "+extra)
	s.up(t, "--no-probe")
	s.writePair(t, pki) // which nobody asks for any more
	second := pki.Write(t, extra, "ecdsa", "mail.extra.example")
	w.says(t, "renewed and installed: the certificates for further names changed: "+extra+" changed")
	s.servesOn(t, listeners, second, certs.Asked{Name: "mail.extra.example"})
	s.servesOn(t, listeners, served, s.own())
	w.end(t)
}

// TestNamesAndTwin: certificates of further names are served to who asks for
// them, and the kind of key that a client takes, by both daemons alike; also
// after each was exchanged.
func TestNamesAndTwin(t *testing.T) {
	t.Parallel()
	s := newSmallStack(t)
	pki := certstest.New(t, time.Now())
	one, other := filepath.Join(s.dir, "one.pem"), filepath.Join(s.dir, "live")
	if err := os.Mkdir(other, 0o700); err != nil {
		t.Fatal(err)
	}
	extra := pki.Write(t, one, "ecdsa", "mail.one.example", "*.one.example")
	writeLive := func() string {
		key := certstest.Key(t, "rsa")
		leaf := pki.Leaf(t, key, nil, "mail.two.example", s.hostname())
		certstest.Put(t, filepath.Join(other, "privkey.pem"), 0o600, certstest.Forms(t, key)["PKCS#1"])
		certstest.Put(t, filepath.Join(other, "fullchain.pem"), 0o644, pki.Chain(leaf))
		return certstest.Fingerprint(leaf)
	}
	live := writeLive()
	s.set(t, "tls.extra", fmt.Sprintf("[%q, %q]", one, other))
	s.set(t, "tls.names", fmt.Sprintf("[%q]", "mta-sts."+s.name+".localhost"))
	s.set(t, "tls.rsa_twin", "true")
	s.up(t)

	check := func(t *testing.T) {
		t.Helper()
		state := s.certificate(t)
		if state.Twin == nil || state.Certificate.Names[1] != "mta-sts."+s.name+".localhost" {
			t.Fatalf("shown: %+v", state)
		}
		for _, look := range []struct {
			ask  certs.Asked
			want string
		}{
			{certs.Asked{Name: s.hostname(), Kind: "ecdsa"}, state.Certificate.Fingerprint},
			{certs.Asked{Name: s.hostname(), Kind: "rsa"}, state.Twin.Fingerprint},
			{certs.Asked{Kind: "ecdsa"}, state.Certificate.Fingerprint},
			{certs.Asked{Name: "nobody.example", Kind: "ecdsa"}, state.Certificate.Fingerprint},
			{certs.Asked{Name: "mail.one.example"}, extra},
			{certs.Asked{Name: "any.one.example"}, extra},
			{certs.Asked{Name: "MAIL.two.example"}, live},
		} {
			s.servesOn(t, listeners, look.want, look.ask)
		}
	}
	check(t)
	s.mustRun(t, "cert", "show", "--served")

	extra, live = pki.Write(t, one, "ecdsa", "mail.one.example", "*.one.example"), writeLive()
	s.mustRun(t, "cert", "renew")
	check(t)

	// One that is broken leaves the others to be renewed.
	certstest.Put(t, one, 0o600, []byte("broken"))
	live = writeLive()
	if r := s.run(t, "cert", "renew"); r.code != 1 || !strings.Contains(r.stderr, one+" is not in PEM form") || !strings.Contains(r.stdout, "installed; the services serve it") {
		t.Errorf("%v", r)
	}
	check(t)
}
