package imapcopy

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
)

// hostile is an old server that lets anybody in and answers one command by what
// eats the memory of whoever believes it.
func hostile(t *testing.T, command string, answer func(conn io.Writer, tag string)) Login {
	t.Helper()
	web := httptest.NewTLSServer(nil) // for its certificate
	t.Cleanup(web.Close)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: web.TLS.Certificates})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	serve := func(conn net.Conn) {
		defer conn.Close()
		fmt.Fprint(conn, "* OK [CAPABILITY IMAP4rev1] ready\r\n")
		for lines := bufio.NewScanner(conn); lines.Scan(); {
			tag, said, _ := strings.Cut(lines.Text(), " ")
			switch word, _, _ := strings.Cut(said, " "); {
			case strings.HasPrefix(said, command):
				answer(conn, tag)
			case word == "CAPABILITY":
				fmt.Fprint(conn, "* CAPABILITY IMAP4rev1\r\n")
			case word == "LIST":
				fmt.Fprint(conn, "* LIST () \"/\" INBOX\r\n")
			case word == "STATUS":
				fmt.Fprint(conn, "* STATUS INBOX (MESSAGES 1)\r\n")
			case word == "SELECT" || word == "EXAMINE":
				fmt.Fprint(conn, "* 1 EXISTS\r\n")
			}
			fmt.Fprintf(conn, "%s OK done\r\n", tag)
		}
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // closed at the end
			}
			go serve(conn)
		}
	}()
	config := &tls.Config{ServerName: "example.com", RootCAs: poolOf(web.Certificate())}
	return Login{Server{Address: l.Addr().String(), TLS: config}, "u", "right"}
}

// TestMemoryIsBounded: whatever an old server answers with, the copy ends with an
// error, or without one, and has not taken the memory that it was told to take.
func TestMemoryIsBounded(t *testing.T) {
	endless := func(begin, more string) func(io.Writer, string) {
		chunk := strings.Repeat(more, 1+(64<<10)/len(more))
		return func(conn io.Writer, _ string) {
			fmt.Fprint(conn, begin)
			for range (2 * maxAnswer) / len(chunk) {
				if _, err := io.WriteString(conn, chunk); err != nil {
					return
				}
			}
		}
	}
	for name, attack := range map[string]struct {
		command string
		answer  func(io.Writer, string)
	}{
		"a folder with four billion messages": {"EXAMINE", func(conn io.Writer, _ string) { fmt.Fprint(conn, "* 4294967295 EXISTS\r\n") }},
		"a list without end":                  {"LIST", endless("", "* LIST () \"/\" aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n")},
		"a name without end":                  {"LIST", endless("* LIST () \"/\" ", "a")},
		"a name of many octets":               {"LIST", endless("* LIST () \"/\" {9223372036854775807}\r\n", "a")},
		"flags without end":                   {"UID FETCH", endless("* 1 FETCH (FLAGS (", "a ")},
		"a header of many octets":             {"UID FETCH", endless("* 1 FETCH (UID 1 BODY[HEADER.FIELDS (SUBJECT)] {9223372036854775807}\r\n", "Subject: x\r\n")},
		"capabilities that are read for ever": {"LIST", func(conn io.Writer, _ string) { fmt.Fprint(conn, "* CAPABILITY (\r\n") }},
		"the same in one packet":              {"LIST", func(conn io.Writer, tag string) { fmt.Fprintf(conn, "* CAPABILITY (\r\n%s OK done\r\n", tag) }},
		"a line without end":                  {"CAPABILITY", endless("* CAPABILITY ", "a ")},
	} {
		t.Run(name, func(t *testing.T) {
			from := hostile(t, attack.command, attack.answer)
			var p pulse
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			s, err := connect(t.Context(), from, &p)
			if err == nil {
				_, _, err = s.folders()
				if err == nil {
					_, err = s.messages(folder{name: "INBOX", path: "INBOX"})
				}
				s.close()
			}
			runtime.ReadMemStats(&after)
			t.Logf("%v", err)
			if used := after.Sys - before.Sys; used > 64*maxAnswer {
				t.Errorf("%d MB of memory were taken (%v)", used>>20, err)
			}
			if err == nil {
				t.Error("all of it was believed")
			}
		})
	}
}
