package probe

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// markerField is the header field by which the probe knows its own messages.
const markerField = "X-Mailstack-Probe"

// marker names one message of one run. It is signed, so that nobody can make
// the probe delete a message that it did not send.
type marker struct {
	token string // 128 random bits in hexadecimal
	until int64  // Unix seconds: after this the run that sent it is over
}

func newMarker(until time.Time) marker {
	var b [16]byte
	rand.Read(b[:]) // never fails: https://pkg.go.dev/crypto/rand#Read
	return marker{token: hex.EncodeToString(b[:]), until: until.Unix() + 1}
}

// value is the field's body, in 86 bytes and one line.
func (m marker) value(t *Target) string {
	return fmt.Sprintf("1 %s %d %s", m.token, m.until, m.sign(t))
}

// sign is an HMAC under the account's password: whoever has that password may
// delete the mail anyway. A leftover from before a change of password is not
// recognised, and stays.
func (m marker) sign(t *Target) string {
	mac := hmac.New(sha256.New, []byte(t.Password))
	fmt.Fprintf(mac, "mailstack probe 1\n%s\n%s\n%d\n", t.User, m.token, m.until)
	return hex.EncodeToString(mac.Sum(nil)[:16])
}

// stale says that the run that sent the message is over.
func (m marker) stale(now time.Time) bool { return now.Unix() > m.until }

// parseMarker reads a field's body and verifies it.
func parseMarker(t *Target, value string) (marker, bool) {
	f := strings.Fields(value)
	if len(f) != 4 || f[0] != "1" {
		return marker{}, false
	}
	until, err := strconv.ParseInt(f[2], 10, 64)
	if err != nil {
		return marker{}, false
	}
	m := marker{token: f[1], until: until}
	return m, hmac.Equal([]byte(m.sign(t)), []byte(f[3]))
}

// markerIn finds and verifies the marker among the lines of a header. A header
// with more than one has been tampered with.
func markerIn(t *Target, header []string) (marker, bool) {
	var values []string
	inside := false
	for _, line := range header {
		if line != "" && (line[0] == ' ' || line[0] == '\t') { // a folded line
			if inside {
				values[len(values)-1] += line
			}
			continue
		}
		name, value, _ := strings.Cut(line, ":")
		if inside = strings.EqualFold(strings.TrimSpace(name), markerField); inside {
			values = append(values, value)
		}
	}
	if len(values) != 1 {
		return marker{}, false
	}
	return parseMarker(t, values[0])
}

// message is the whole message, lines ended by CRLF. t is whose mailbox it goes
// to and who signs it.
func (m marker) message(t *Target, from, to, check string, now time.Time) []byte {
	return []byte(strings.Join([]string{
		"From: <" + from + ">",
		"To: <" + to + ">",
		"Subject: " + check,
		"Date: " + now.Format(time.RFC1123Z),
		"Message-ID: <" + m.token + "@" + t.Hostname + ">",
		markerField + ": " + m.value(t),
		"Auto-Submitted: auto-generated", // nobody answers it (RFC 3834)
		"MIME-Version: 1.0",
		"Content-Type: text/plain; charset=us-ascii",
		"",
		"This message checks that mail arrives. It is removed as soon as it has been seen.",
		"",
	}, "\r\n"))
}
