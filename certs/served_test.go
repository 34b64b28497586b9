package certs

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mailstack/certs/certstest"
)

// server speaks a plain dialogue on one connection, then TLS. Lines of it that
// begin with "> " are sent, the others must be received.
func server(t *testing.T, dialogue string, config *tls.Config) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		reader := bufio.NewReader(conn)
		var out strings.Builder
		for line := range strings.Lines(dialogue) {
			if send, ok := strings.CutPrefix(line, "> "); ok {
				out.WriteString(strings.TrimRight(send, "\n") + "\r\n")
				continue
			}
			_, _ = io.WriteString(conn, out.String())
			out.Reset()
			if got, _ := reader.ReadString('\n'); strings.TrimSpace(got) != strings.TrimSpace(line) {
				return
			}
		}
		_, _ = io.WriteString(conn, out.String())
		if config != nil {
			_ = tls.Server(conn, config).Handshake()
		}
		_, _ = io.Copy(io.Discard, conn) // until the client has gone
	}()
	return listener.Addr().String()
}

func TestServed(t *testing.T) {
	_, state := renewed(t, example)
	pair, err := tls.LoadX509KeyPair(state.File, state.File)
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{pair}}
	for start, dialogue := range map[StartTLS]string{
		Implicit:   "",
		StartSMTP:  "> 220-mail.example.org\n> 220 ESMTP\nEHLO localhost\n> 250-mail.example.org\n> 250 STARTTLS\nSTARTTLS\n> 220 go\n",
		StartIMAP:  "> * OK [CAPABILITY STARTTLS] ready\na STARTTLS\n> * STATUS\n> a OK begin\n",
		StartPOP3:  "> +OK ready\nSTLS\n> +OK begin\n",
		StartSieve: "> \"IMPLEMENTATION\" \"x\"\n> \"STARTTLS\"\n> OK \"ready\"\nSTARTTLS\n> OK \"begin\"\n",
	} {
		t.Run("start "+string(start), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			got, err := Served(ctx, server(t, dialogue, config), start, Asked{Name: "mail.example.org"})
			if err != nil {
				t.Fatal(err)
			}
			if got.Fingerprint != state.Leaf.Fingerprint {
				t.Errorf("fingerprint %s, want %s", got.Fingerprint, state.Leaf.Fingerprint)
			}
		})
	}
}

// TestServedKind: of a pair of certificates for the same name, each can be seen.
func TestServedKind(t *testing.T) {
	p := certstest.New(t, time.Now())
	for _, kind := range []string{"ecdsa", "ed25519"} {
		var config tls.Config
		want := map[string]string{}
		for _, kind := range []string{"rsa", kind} {
			file := filepath.Join(t.TempDir(), "pair.pem")
			want[kind] = p.Write(t, file, kind, "mail.example.org")
			pair, err := tls.LoadX509KeyPair(file, file)
			if err != nil {
				t.Fatal(err)
			}
			config.Certificates = append(config.Certificates, pair)
		}
		for kind, fingerprint := range want {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			got, err := Served(ctx, server(t, "", &config), Implicit, Asked{Name: "mail.example.org", Kind: kind})
			if err != nil || got.Fingerprint != fingerprint {
				t.Errorf("asked for %s: %s, %v; want %s", kind, got.Fingerprint, err, fingerprint)
			}
		}
	}
}

func TestServedFails(t *testing.T) {
	for _, test := range []struct {
		name, dialogue string
		start          StartTLS
		text           string
	}{
		{"refused at the greeting", "> 554 go away\n", StartSMTP, `the greeting was "554 go away"`},
		{"no STARTTLS", "> +OK\nSTLS\n> -ERR no\n", StartPOP3, `the answer to "STLS" was "-ERR no"`},
		{"injected", "> +OK\nSTLS\n> +OK\n> +OK more\n", StartPOP3, "more in plain text after agreeing to TLS"},
		{"endless", strings.Repeat("> 220-x\n", 101), StartSMTP, "the answer does not end"},
		{"a line without end", "> +" + strings.Repeat("x", 5000) + "\n", StartPOP3, "buffer full"},
		{"unknown", "", "xmpp", `no way to start TLS is called "xmpp"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			addr := server(t, test.dialogue, nil)
			_, err := Served(ctx, addr, test.start, Asked{Name: "mail.example.org"})
			if err == nil || !strings.Contains(err.Error(), test.text) || !strings.Contains(err.Error(), addr) {
				t.Errorf("error %v, want %q", err, test.text)
			}
		})
	}
}

// TestServedIsBounded: a server that says nothing, before or in the handshake.
func TestServedIsBounded(t *testing.T) {
	for name, test := range map[string]struct {
		dialogue string
		start    StartTLS
	}{
		"no greeting":  {"", StartSMTP},
		"no handshake": {"", Implicit},
		"half-way":     {"> +OK\nSTLS\n", StartPOP3},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			if _, err := Served(ctx, server(t, test.dialogue, nil), test.start, Asked{Name: "x"}); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("error %v", err)
			}
		})
	}
}
