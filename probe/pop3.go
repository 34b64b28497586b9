package probe

import (
	"fmt"
	"strings"
)

// POP3, RFC 1939, with STLS (RFC 2595) and response codes (RFC 2449, RFC 3206).
var pop3Protocol = protocol{
	banner: func(w *wire) error {
		_, err := pop3Answer(w)
		return err
	},
	startTLS: func(w *wire) error {
		_, err := (&pop3Session{w}).command("STLS")
		if isKind(err, KindAnswer) {
			return failf(KindTLS, "STLS refused: %s", detailIn(err))
		}
		return err
	},
	open: func(w *wire, _ bool) (session, error) { return &pop3Session{w}, nil },
}

type pop3Session struct{ w *wire }

// pop3Answer reads the first line of an answer and returns what follows +OK.
func pop3Answer(w *wire) (string, error) {
	line, err := w.readLine()
	if err != nil {
		return "", err
	}
	word, text, _ := strings.Cut(line, " ")
	switch word {
	case "+OK":
		return text, nil
	case "-ERR":
		return "", pop3Failure(text)
	}
	return "", failf(KindGarbage, "neither +OK nor -ERR: %q", printable(line))
}

func pop3Failure(text string) error {
	kind := KindAnswer
	if code, _, ok := strings.Cut(strings.TrimPrefix(text, "["), "]"); ok && strings.HasPrefix(text, "[") {
		switch code := strings.ToUpper(code); {
		case code == "AUTH":
			kind = KindCredentials
		case code == "SYS" || strings.HasPrefix(code, "SYS/"):
			kind = KindBackend
		}
	}
	return failf(kind, "%s", printable("-ERR "+text))
}

func (s *pop3Session) command(format string, args ...any) (string, error) {
	if err := s.w.writeLine(fmt.Sprintf(format, args...)); err != nil {
		return "", err
	}
	return pop3Answer(s.w)
}

func (s *pop3Session) login(user string, password Secret) error {
	if _, err := s.command("USER %s", user); err != nil {
		return err
	}
	_, err := s.command("PASS %s", string(password))
	return err
}

// loginInClear: the code for a refusal without TLS is the one for a wrong
// password, so the answer to USER decides: who takes the name waits for the
// password.
func (s *pop3Session) loginInClear(user string) error {
	_, err := s.command("USER %s", user)
	switch {
	case err == nil:
		return failf(KindInsecure, "USER is taken without TLS, so passwords follow in the clear")
	case isKind(err, KindCredentials), isKind(err, KindAnswer):
		return nil
	}
	return err
}

func (s *pop3Session) read() error {
	_, _, err := s.stat()
	return err
}

// stat returns the number of messages, and their octets.
func (s *pop3Session) stat() (count int, octets int64, err error) {
	text, err := s.command("STAT")
	if err != nil {
		return 0, 0, err
	}
	if n, err := fmt.Sscanf(text, "%d %d", &count, &octets); n != 2 || err != nil || count < 0 || octets < 0 {
		return 0, 0, failf(KindAnswer, "STAT: %q", printable("+OK "+text))
	}
	return count, octets, nil
}

func (s *pop3Session) quit() error {
	_, err := s.command("QUIT")
	return err
}

// header returns the lines of a message's header (TOP n 0), dot-stuffing
// undone.
func (s *pop3Session) header(number int) ([]string, error) {
	if _, err := s.command("TOP %d 0", number); err != nil {
		return nil, err
	}
	var lines []string
	for range maxLines {
		raw, err := s.w.readRaw()
		if err != nil {
			return nil, err
		}
		line := string(raw)
		if line == "." {
			return lines, nil
		}
		lines = append(lines, strings.TrimPrefix(line, "."))
	}
	return nil, failf(KindGarbage, "no end to the answer to TOP")
}
