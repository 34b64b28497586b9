package imapguard

import (
	"strings"
	"testing"
)

func TestGuard(t *testing.T) {
	for _, test := range []struct {
		name, said string
		refused    bool
	}{
		{"a greeting", "* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] ready (at last)\r\n", false},
		{"capabilities", "* CAPABILITY IMAP4rev1 UIDPLUS\r\nT1 OK done (quickly)\r\n", false},
		{"what the client says", "T1 CAPABILITY\r\nT2 STATUS INBOX (MESSAGES)\r\n", false},
		{"another response", "* FLAGS (\\Seen CAPABILITY)\r\n* LIST (\\HasChildren) \"/\" \"CAPABILITY (x\"\r\n", false},
		{"a message's text", "* 1 FETCH (UID 1 BODY[] {24}\r\n* CAPABILITY IMAP4rev1 (\n)\r\nT3 OK\r\n", false},
		{"a parenthesis at once", "* CAPABILITY(MESSAGES 1)\r\n", true},
		{"a parenthesis later", "* capability IMAP4rev1  (X)\r\n", true},
		{"in a status", "T1 OK [CAPABILITY IMAP4rev1 (] done\r\n", true},
		{"without an end", "* CAPABILITY (", true},
		{"after a literal", "* LIST () \"/\" {3}\r\nabc\r\n* CAPABILITY (\r\n", true},
		{"after a line without end", "* X " + strings.Repeat("x", 1<<20) + "\r\n* CAPABILITY (\r\n", true},
	} {
		for _, size := range []int{1, 7, len(test.said)} {
			closed := false
			g := &Guard{Close: func() error { closed = true; return nil }}
			var err error
			for rest := test.said; rest != "" && err == nil; {
				n := min(size, len(rest))
				if size == 1 && len(test.said) > 1<<16 {
					n = min(1<<10, len(rest))
				}
				_, err = g.Write([]byte(rest[:n]))
				rest = rest[n:]
			}
			if (err != nil) != test.refused || closed != test.refused {
				t.Errorf("%s, %d octets at once: %v, closed: %v", test.name, size, err, closed)
			}
		}
	}
}
