package probe

import (
	"encoding/base64"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// ManageSieve, RFC 5804.
var sieveProtocol = protocol{
	banner: func(w *wire) error {
		_, err := (&sieveSession{w: w}).answer()
		return err
	},
	startTLS: func(w *wire) error {
		_, err := (&sieveSession{w: w}).command("STARTTLS")
		if isKind(err, KindAnswer) {
			return failf(KindTLS, "STARTTLS refused: %s", detailIn(err))
		}
		return err
	},
	open: func(w *wire, upgraded bool) (session, error) {
		s := &sieveSession{w: w}
		if upgraded { // the capabilities come again, unasked (section 2.2)
			if _, err := s.answer(); err != nil {
				return nil, err
			}
		}
		return s, nil
	},
}

type sieveSession struct{ w *wire }

// sieveLine is one logical line of an answer: words and strings in order.
// Literals have been read into it.
type sieveLine []string

// answer reads lines up to OK, NO or BYE and returns those before it.
func (s *sieveSession) answer() ([]sieveLine, error) {
	var lines []sieveLine
	for range maxLines {
		text, line, err := s.readLine()
		if err != nil {
			return nil, err
		}
		word, rest, _ := strings.Cut(text, " ")
		switch strings.ToUpper(word) {
		case "OK":
			return lines, nil
		case "NO":
			return nil, sieveFailure(rest, line)
		case "BYE":
			return nil, failf(KindBackend, "%s", printable("BYE "+rest))
		}
		if !strings.HasPrefix(text, `"`) && !strings.HasPrefix(text, "{") {
			return nil, failf(KindGarbage, "no ManageSieve answer: %q", printable(text))
		}
		lines = append(lines, line)
	}
	return nil, failf(KindGarbage, "no end to a ManageSieve answer")
}

// sieveFailure gives a NO its meaning. A wrong password has no code of its own,
// so login makes one out of a NO without code.
func sieveFailure(rest string, line sieveLine) error {
	kind := KindAnswer
	if code, ok := strings.CutPrefix(rest, "("); ok {
		code, _, _ = strings.Cut(code, ")")
		switch strings.ToUpper(code) {
		case "TRYLATER":
			kind = KindBackend
		case "ENCRYPT-NEEDED":
			kind = KindNeedsTLS
		}
		return &Failure{Kind: kind, Detail: printable("NO " + strings.Join(line[1:], " ")), Err: sieveCoded{}}
	}
	return failf(kind, "%s", printable("NO "+strings.Join(line[1:], " ")))
}

// sieveCoded marks a NO that had a response code.
type sieveCoded struct{}

func (sieveCoded) Error() string { return "refused with a response code" }

// readLine reads one logical line: the raw text of its first physical line,
// and its parts.
func (s *sieveSession) readLine() (string, sieveLine, error) {
	first, err := s.w.readLine()
	if err != nil {
		return "", nil, err
	}
	var parts sieveLine
	rest := first
	for range maxLines {
		var length int
		parts, length, err = splitSieve(parts, rest)
		if err != nil {
			return "", nil, err
		}
		if length < 0 {
			return first, parts, nil
		}
		literal := make([]byte, length)
		if _, err := io.ReadFull(s.w.r, literal); err != nil {
			return "", nil, err
		}
		parts = append(parts, string(literal))
		if rest, err = s.w.readLine(); err != nil {
			return "", nil, err
		}
	}
	return "", nil, failf(KindGarbage, "no end to a ManageSieve line")
}

// splitSieve appends the words and quoted strings of text to parts. Where text
// ends in the head of a literal, length is that literal's, else -1.
func splitSieve(parts sieveLine, text string) (_ sieveLine, length int, err error) {
	for text = strings.TrimLeft(text, " "); text != ""; text = strings.TrimLeft(text, " ") {
		switch text[0] {
		case '"':
			value, rest, ok := unquoteSieve(text)
			if !ok {
				return nil, 0, failf(KindGarbage, "string without an end: %q", printable(text))
			}
			parts, text = append(parts, value), rest
		case '{':
			digits := strings.TrimSuffix(strings.TrimSuffix(text[1:], "}"), "+")
			n, err := strconv.ParseUint(digits, 10, 31)
			if err != nil || !strings.HasSuffix(text, "}") {
				return nil, 0, failf(KindGarbage, "literal: %q", printable(text))
			}
			if n > maxLine {
				return nil, 0, failf(KindGarbage, "literal of %d bytes", n)
			}
			return parts, int(n), nil
		default:
			word, rest, _ := strings.Cut(text, " ")
			parts, text = append(parts, word), rest
		}
	}
	return parts, -1, nil
}

// unquoteSieve reads a quoted string at the beginning of text.
func unquoteSieve(text string) (value, rest string, ok bool) {
	var b strings.Builder
	for i := 1; i < len(text); i++ {
		switch c := text[i]; c {
		case '"':
			return b.String(), text[i+1:], true
		case '\\':
			i++
			if i == len(text) {
				return "", "", false
			}
			b.WriteByte(text[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", "", false
}

func (s *sieveSession) command(format string, args ...any) ([]sieveLine, error) {
	if err := s.w.writeLine(fmt.Sprintf(format, args...)); err != nil {
		return nil, err
	}
	return s.answer()
}

func (s *sieveSession) login(user string, password Secret) error {
	response := base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + string(password)))
	_, err := s.command(`AUTHENTICATE "PLAIN" "%s"`, response)
	if f, ok := err.(*Failure); ok && f.Kind == KindAnswer && f.Err == nil {
		f.Kind = KindCredentials
	}
	return err
}

func (s *sieveSession) loginInClear(user string) error {
	err := s.login(user, wrongPassword)
	switch {
	case err == nil:
		return failf(KindInsecure, "logged in without TLS, and with a wrong password")
	case isKind(err, KindNeedsTLS):
		return nil
	case isKind(err, KindCredentials), isKind(err, KindAnswer):
		return failf(KindInsecure, "the server looks at passwords sent without TLS: %s", detailIn(err))
	}
	return err
}

func (s *sieveSession) read() error {
	lines, err := s.command("CAPABILITY")
	if err != nil {
		return err
	}
	sieve := false
	for _, line := range lines {
		sieve = sieve || (len(line) == 2 && strings.EqualFold(line[0], "SIEVE"))
	}
	if !sieve {
		return failf(KindAnswer, "no SIEVE capability")
	}
	_, err = s.command("LISTSCRIPTS")
	return err
}

func (s *sieveSession) quit() error {
	_, err := s.command("LOGOUT")
	return err
}
