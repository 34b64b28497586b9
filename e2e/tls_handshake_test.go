package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// intermediate are the suites of TLS 1.2 in Mozilla's recommendation of that name
// (https://ssl-config.mozilla.org/guidelines/6.0.json; 5.8 has some with DHE
// besides), as OpenSSL calls them.
var intermediate = []string{
	"ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256",
	"ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384",
	"ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305",
}

// TestHandshakes: every port takes what is recommended and nothing that is
// weaker, and all ports the same.
func TestHandshakes(t *testing.T) {
	t.Parallel()
	s := shared(t)
	for _, key := range listeners {
		t.Run(key, func(t *testing.T) {
			t.Parallel()
			s.testTaken(t, key)
			s.testVersions(t, key)
			s.testSuites(t, key)
			s.testOpenSSLSuites(t, key)
			s.testSession(t, key)
			s.testResumption(t, key)
		})
	}
}

// testTaken shakes hands in every way that is recommended for the ECDSA key.
func (s *Stack) testTaken(t *testing.T, key string) {
	for _, curve := range []tls.CurveID{tls.X25519MLKEM768, tls.X25519, tls.CurveP256, tls.CurveP384} {
		state, err := s.handshake(t, key, &tls.Config{MinVersion: tls.VersionTLS13, CurvePreferences: []tls.CurveID{curve}})
		if err != nil || state.CurveID != curve {
			t.Errorf("%v is not taken: %v", curve, err)
		}
	}
	for _, suite := range []uint16{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
	} {
		if _, err := s.handshake(t, key, &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{suite}}); err != nil {
			t.Errorf("%s is not taken: %v", tls.CipherSuiteName(suite), err)
		}
	}
	if _, err := s.handshake(t, key, &tls.Config{MinVersion: tls.VersionTLS13, CurvePreferences: []tls.CurveID{tls.CurveP521}}); err == nil {
		t.Error("P-521, which is not recommended, is taken")
	}
}

func (s *Stack) testVersions(t *testing.T, key string) {
	for _, version := range []uint16{tls.VersionTLS10, tls.VersionTLS11} {
		if _, err := s.handshake(t, key, &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: version}); err == nil || !strings.Contains(err.Error(), "protocol version") {
			t.Errorf("%s is not refused: %v", tls.VersionName(version), err)
		}
	}
	if err := s.ssl3(t, key); err != nil {
		t.Errorf("SSL 3: %v", err)
	}
}

// testSuites offers each of the other suites that Go knows, by itself.
func (s *Stack) testSuites(t *testing.T, key string) {
	good := map[uint16]bool{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256: true, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256: true,
		tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384: true, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384: true,
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256: true, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256: true,
		tls.TLS_AES_128_GCM_SHA256: true, tls.TLS_AES_256_GCM_SHA384: true, tls.TLS_CHACHA20_POLY1305_SHA256: true,
	}
	for _, suite := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		if good[suite.ID] {
			continue
		}
		if _, err := s.handshake(t, key, &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{suite.ID}}); err == nil {
			t.Errorf("%s is taken", suite.Name)
		}
	}
}

// testOpenSSLSuites offers at once all that OpenSSL knows besides: with DHE,
// without authentication, without encryption.
func (s *Stack) testOpenSSLSuites(t *testing.T, key string) {
	rest := "ALL:COMPLEMENTOFALL:!" + strings.Join(intermediate, ":!") + ":@SECLEVEL=0"
	r := tool(t, "", "openssl", append(s.sClient(key), "-tls1_2", "-cipher", rest)...)
	if r.code == 0 || !strings.Contains(r.stderr, "handshake failure") {
		t.Errorf("a suite that is not recommended is taken: %v", r)
	}
}

// testSession looks at what a session of TLS 1.2 can do: no renegotiation and no
// compression.
func (s *Stack) testSession(t *testing.T, key string) {
	r := tool(t, "R\n", "openssl", append(s.sClient(key), "-tls1_2")...)
	// Most often "no renegotiation"; a greeting that comes meanwhile is an error too.
	_, after, asked := strings.Cut(r.stderr, "RENEGOTIATING")
	if !asked || !strings.Contains(after, "error:") || strings.Contains(after, "verify return") {
		t.Errorf("renegotiation is not refused: %v", r)
	}
	if !strings.Contains(r.stdout, "Compression: NONE") {
		t.Errorf("compressed: %v", r)
	}
}

// testResumption: no port gives out tickets, whose key could open what was
// recorded, so that each session has a handshake of its own.
func (s *Stack) testResumption(t *testing.T, key string) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		settings := &tls.Config{MinVersion: version, MaxVersion: version, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
		for range 2 {
			state, err := s.handshake(t, key, settings)
			if err != nil || state.DidResume {
				t.Errorf("%s: resumed: %v (%v)", tls.VersionName(version), state.DidResume, err)
			}
		}
	}
}

// sClient are openssl's arguments for a port.
func (s *Stack) sClient(key string) []string {
	args := []string{"s_client", "-connect", s.addr(key), "-servername", s.hostname()}
	if protocol := map[string]string{"smtp": "smtp", "submission": "smtp", "imap": "imap", "pop3": "pop3", "managesieve": "sieve"}[key]; protocol != "" {
		args = append(args, "-starttls", protocol)
	}
	return args
}

// handshake shakes hands on a port; who is behind it does not matter.
func (s *Stack) handshake(t *testing.T, key string, settings *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	conn := s.beforeTLS(t, key)
	defer conn.Close()
	settings.ServerName, settings.InsecureSkipVerify = s.hostname(), true
	client := tls.Client(conn, settings)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	err := client.HandshakeContext(ctx)
	if err == nil {
		// A ticket of TLS 1.3 comes with the first answer, whatever it is.
		_, _ = client.Write([]byte("NOOP\r\n"))
		_, _ = client.Read(make([]byte, 1))
	}
	return client.ConnectionState(), err
}

// beforeTLS is a connection that has come to where TLS begins.
func (s *Stack) beforeTLS(t *testing.T, key string) net.Conn {
	t.Helper()
	conn, err := net.DialTimeout("tcp", s.addr(key), 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	d := &dialogue{conn, bufio.NewReader(conn)}
	switch key {
	case "smtp", "submission":
		d.smtp(t, "")
		d.smtp(t, "EHLO client.example")
		d.expect(t, "STARTTLS", "220")
	case "imap":
		d.expect(t, "", "* OK")
		d.expect(t, "a STARTTLS", "a OK")
	case "pop3":
		d.expect(t, "", "+OK")
		d.expect(t, "STLS", "+OK")
	case "managesieve":
		d.until(t, "", func(l string) bool { return strings.HasPrefix(l, "OK") })
		d.expect(t, "STARTTLS", "OK")
	}
	return conn
}

// ssl3 says hello as SSL 3 did, which no library does any more, and must be
// answered by an alert (21) or by nothing.
func (s *Stack) ssl3(t *testing.T, key string) error {
	t.Helper()
	conn := s.beforeTLS(t, key)
	defer conn.Close()
	body := append([]byte{3, 0}, make([]byte, 32)...) // version and random
	body = append(body, 0, 0, 2, 0, 0x2f, 1, 0)       // no session, AES128-SHA, no compression
	hello := append([]byte{1, 0, 0, byte(len(body))}, body...)
	record := append([]byte{22, 3, 0, 0, byte(len(hello))}, hello...)
	if _, err := conn.Write(record); err != nil {
		return err
	}
	answer := make([]byte, 1)
	if n, _ := conn.Read(answer); n == 1 && answer[0] != 21 {
		return fmt.Errorf("answered with a record of type %d", answer[0])
	}
	return nil
}
