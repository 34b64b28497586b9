package certs

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
)

// StartTLS is how a plain connection is turned into TLS.
type StartTLS string

// The ways to start TLS.
const (
	Implicit   StartTLS = ""      // TLS from the first byte (RFC 8314)
	StartSMTP  StartTLS = "smtp"  // RFC 3207
	StartIMAP  StartTLS = "imap"  // RFC 9051 6.2.1
	StartPOP3  StartTLS = "pop3"  // RFC 2595 4
	StartSieve StartTLS = "sieve" // ManageSieve, RFC 5804 2.2
)

// Asked is what a client asks a server for.
type Asked struct {
	Name string // sent as SNI; empty: none
	// Kind is the only kind of key that the client takes, "ecdsa", which Ed25519 is
	// to TLS 1.2 (RFC 8422 section 5.10), or "rsa"; with none, it takes what it is
	// given.
	Kind string
}

// suites are those of TLS 1.2 that go with a kind of key. TLS 1.3's go with any,
// so a client that wants one kind speaks TLS 1.2.
var suites = map[string][]uint16{
	"ecdsa": ecdsaSuites, "ed25519": ecdsaSuites,
	"rsa": {
		tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	},
}

var ecdsaSuites = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
}

// Served fetches the certificate that addr ("192.0.2.1:993") serves a client that
// asks so, without judging it. ctx bounds everything: it must have a deadline, or a
// server that says nothing is waited for as long as ctx lives.
func Served(ctx context.Context, addr string, start StartTLS, ask Asked) (Certificate, error) {
	cert, err := served(ctx, addr, start, ask)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx) // a connection closed by ctx says only that
		}
		return Certificate{}, fmt.Errorf("fetch certificate served on %s: %w", addr, err)
	}
	return cert, nil
}

func served(ctx context.Context, addr string, start StartTLS, ask Asked) (Certificate, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return Certificate{}, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	if start != Implicit {
		dialogue, ok := dialogues[start]
		if !ok {
			return Certificate{}, fmt.Errorf("no way to start TLS is called %q", start)
		}
		if err := startTLS(conn, dialogue); err != nil {
			return Certificate{}, fmt.Errorf("start TLS: %w", err)
		}
	}
	// The certificate is looked at, nothing is sent under its protection.
	settings := &tls.Config{ServerName: ask.Name, InsecureSkipVerify: true}
	if settings.CipherSuites = suites[ask.Kind]; settings.CipherSuites != nil {
		settings.MaxVersion = tls.VersionTLS12
	}
	secured := tls.Client(conn, settings)
	if err := secured.HandshakeContext(ctx); err != nil {
		return Certificate{}, err
	}
	return describe(secured.ConnectionState().PeerCertificates[0]), nil
}

// exchange is one step of a dialogue: what is sent, and how the last line of a
// good answer begins. Lines that begin otherwise are passed over if more says
// so, and end the dialogue if not.
type exchange struct {
	send string
	want string
	more func(line string) bool
}

var dialogues = map[StartTLS][]exchange{
	StartSMTP: {
		{"", "220 ", prefixed("220-")},
		{"EHLO localhost\r\n", "250 ", prefixed("250-")},
		{"STARTTLS\r\n", "220 ", prefixed("220-")},
	},
	StartIMAP: {
		{"", "* OK", nil},
		{"a STARTTLS\r\n", "a OK", prefixed("* ")},
	},
	StartPOP3: {
		{"", "+OK", nil},
		{"STLS\r\n", "+OK", nil},
	},
	StartSieve: {
		{"", "OK", prefixed(`"`)}, // capabilities come unasked
		{"STARTTLS\r\n", "OK", nil},
	},
}

func prefixed(prefix string) func(string) bool {
	return func(line string) bool { return strings.HasPrefix(line, prefix) }
}

// startTLS runs a dialogue in plain text. Answers are bounded: 100 lines of
// what fits the reader's buffer, 4096 bytes, each.
func startTLS(conn net.Conn, dialogue []exchange) error {
	reader := bufio.NewReader(conn)
	for _, step := range dialogue {
		if _, err := conn.Write([]byte(step.send)); err != nil {
			return err
		}
		if err := answer(reader, step); err != nil {
			return err
		}
	}
	// What came with the last answer was sent before TLS, by whoever: RFC 3207
	// section 6, CVE-2011-0411.
	if reader.Buffered() > 0 {
		return errors.New("the server sent more in plain text after agreeing to TLS")
	}
	return nil
}

func answer(reader *bufio.Reader, step exchange) error {
	for range 100 {
		line, err := reader.ReadSlice('\n')
		if err != nil {
			return err
		}
		text := strings.TrimRight(string(line), "\r\n")
		if strings.HasPrefix(text, step.want) {
			return nil
		}
		if step.more == nil || !step.more(text) {
			if step.send == "" {
				return fmt.Errorf("the greeting was %q", text)
			}
			return fmt.Errorf("the answer to %q was %q", strings.TrimSpace(step.send), text)
		}
	}
	return errors.New("the answer does not end")
}
