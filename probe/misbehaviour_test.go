package probe

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// ways are the ways in which a server can misbehave, and what each is called.
var ways = map[string]Kind{
	"silent": KindTimeout, "close": KindClosed, "reset": KindClosed, "half": KindClosed,
	"garbage": KindGarbage, "binary": KindGarbage, "long": KindGarbage,
}

// patience is how long a check may take against a server that misbehaves.
// Silence takes all of it, but a busy machine must get as far as to it.
func patience(how string) time.Duration {
	if how == "silent" {
		return 2 * time.Second
	}
	return 20 * time.Second
}

// TestSabotageBeforeTLS breaks the dialogue of every listener with STARTTLS
// before it is secured.
func TestSabotageBeforeTLS(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ key, step, after string }{
		{"imap", "banner", ""},
		{"imap", "tls", "STARTTLS"},
		{"pop3", "banner", ""},
		{"pop3", "tls", "STLS"},
		{"submission", "banner", ""},
		{"submission", "tls", "EHLO"},
		{"submission", "tls", "STARTTLS"},
		{"smtp", "banner", ""},
		{"smtp", "tls", "EHLO"},
		{"smtp", "tls", "STARTTLS"},
		{"managesieve", "banner", ""},
		{"managesieve", "tls", "STARTTLS"},
	} {
		for how, kind := range ways {
			t.Run(fmt.Sprintf("%s/%s%s/%s", c.key, c.step, c.after, how), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				w.sabotage = &sabotage{after: c.after, how: how, clear: true}
				got := check(t, w.start(c.key), c.key, patience(how))
				if c.after == "" && how == "reset" && len(got.Failures) == 1 && got.Failures[0].Step == "connect" {
					return // it came even earlier
				}
				wantFailure(t, got, kind, c.step)
			})
		}
	}
}

// TestSabotageOfHandshakes: whatever a port with TLS from the first byte does
// instead of a handshake.
func TestSabotageOfHandshakes(t *testing.T) {
	t.Parallel()
	for how, c := range map[string]struct {
		kind Kind
		do   func(conn *net.TCPConn)
	}{
		"close":   {KindClosed, func(conn *net.TCPConn) { conn.Read(make([]byte, 1)); conn.CloseWrite() }},
		"reset":   {KindClosed, func(conn *net.TCPConn) { conn.Read(make([]byte, 1)); conn.SetLinger(0) }},
		"half":    {KindTLS, func(conn *net.TCPConn) { conn.Read(make([]byte, 1024)); conn.Write([]byte{22, 3, 3, 0}) }},
		"alert":   {KindTLS, func(conn *net.TCPConn) { conn.Read(make([]byte, 1024)); conn.Write([]byte{21, 3, 3, 0, 2, 2, 40}) }},
		"garbage": {KindTLS, func(conn *net.TCPConn) { conn.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) }},
		"binary":  {KindTLS, func(conn *net.TCPConn) { conn.Write(bytes.Repeat([]byte{255}, 2*maxLine)) }},
	} {
		for _, key := range []string{"imaps", "pop3s", "submissions"} {
			t.Run(key+"/"+how, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				w.each(key, func(conn net.Conn) { c.do(conn.(*net.TCPConn)) })
				wantFailure(t, check(t, w.target, key, 10*time.Second), c.kind, "tls")
			})
		}
	}
}

// TestSabotageOfDeliveries breaks a delivery at every command that it sends.
func TestSabotageOfDeliveries(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ after, step string }{
		{"MAIL FROM", "send"},
		{"RCPT TO", "send"},
		{"DATA\r\n", "send"},
		{"\r\n.\r\n", "send"},
		{"SELECT", "select"},
		{"SEARCH", "search"},
		{"FETCH", "remove"},
		{"STORE", "remove"},
		{"EXPUNGE", "remove"},
		{"STAT\r\n", "top"},
		{"TOP", "top"},
	} {
		for how, kind := range ways {
			t.Run(fmt.Sprintf("%q/%s", c.after, how), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				w.sabotage = &sabotage{after: c.after, how: how}
				got := check(t, w.start("submissions", "imaps", "pop3s"), "delivery.submission", patience(how))
				step := c.step
				if how == "silent" && len(got.Failures) > 0 {
					step = got.Failures[0].Step // on a busy machine the whole is cut off, not the part
				}
				wantFailure(t, got, kind, step)
			})
		}
	}
}

// TestSabotageOfRefusals: a server that breaks down instead of refusing has
// refused nothing.
func TestSabotageOfRefusals(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ check, key, after, step string }{
		{"refusal.imap", "imaps", "LOGIN", "wrong password"},
		{"refusal.pop3", "pop3s", "PASS", "wrong password"},
		{"refusal.submission", "submissions", "AUTH", "wrong password"},
		{"refusal.submission", "submissions", "RCPT TO", "relay"},
		{"refusal.managesieve", "managesieve", "AUTHENTICATE", "wrong password"},
		{"refusal.smtp", "smtp", "AUTH", "login"},
		{"refusal.smtp", "smtp", "RCPT TO", "relay"},
		{"refusal.smtp", "smtp", "VRFY", "vrfy"},
	} {
		for how, kind := range ways {
			t.Run(c.check+"/"+c.step+"/"+how, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				w.sabotage = &sabotage{after: c.after, how: how}
				got := check(t, w.start(c.key), c.check, patience(how))
				found := false
				for _, f := range got.Failures {
					// On a busy machine the whole is cut off, not the step.
					found = found || f.Kind == kind && (f.Step == c.step || how == "silent")
				}
				if !found || got.Status != Critical {
					t.Errorf("%s: %s, want %q in step %q", got.Status, got.Reason, kind, c.step)
				}
			})
		}
	}
}

// TestJSONOfRealRuns holds what runs report, good and bad, against the schema,
// which has to know every key.
func TestJSONOfRealRuns(t *testing.T) {
	t.Parallel()
	schema := closedSchema(t)
	validate := func(name string, r Report) {
		out, err := json.Marshal(r)
		must(t, err)
		report, err := jsonschema.UnmarshalJSON(bytes.NewReader(out))
		must(t, err)
		if err := schema.Validate(report); err != nil {
			t.Errorf("%s: %s: %v", name, out, err)
		}
	}
	w := newWorld(t)
	validate("healthy", run(t, w.start(allKeys...), Options{Timeout: 20 * time.Second}))
	for how := range ways {
		w := newWorld(t)
		w.sabotage = &sabotage{how: how}
		target := w.start(allKeys...)
		delete(target.Ports, "imaps")
		validate(how, run(t, target, Options{Timeout: 2 * time.Second, Only: []string{"imaps", "imap", "pop3s", "smtp", "delivery", "cert"}}))
	}
	validate("nothing", newReport("x", nil, 0))
	validate("stopped", Stopped("x", "preparation", KindTimeout, "a\x00b\xff", ""))
}

// closedSchema is the schema without room for keys that it does not describe.
func closedSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	data, err := os.ReadFile("report.schema.json")
	must(t, err)
	data = bytes.ReplaceAll(data, []byte(`"type": "object",`), []byte(`"type": "object", "additionalProperties": false,`))
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	must(t, err)
	c := jsonschema.NewCompiler()
	must(t, c.AddResource("closed.json", doc))
	schema, err := c.Compile("closed.json")
	must(t, err)
	return schema
}
