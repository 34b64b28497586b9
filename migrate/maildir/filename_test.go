package maildir

import (
	"strings"
	"testing"
)

func TestMessage(t *testing.T) {
	for _, test := range []struct {
		name, base, flags, keywords string
		size, virtual               int64
		served                      bool
	}{
		{"1.M2P3.host,S=10,W=12:2,FSab", "1.M2P3.host,S=10,W=12", "FS", "ab", 10, 12, true},
		{"1.M2P3.host,W=12,S=10", "1.M2P3.host,W=12,S=10", "", "", 10, 12, true},
		{"1.host:2,SSzzTD", "1.host", "DST", "z", -1, -1, true},
		{"1.host:1,S", "1.host", "", "", -1, -1, true},
		{"1.host:2,S,extra", "1.host", "S", "", -1, -1, true},
		{"1.host,S=-5,W=12x:2,", "1.host,S=-5,W=12x", "", "", -1, -1, true},
		{"1.host,S=99999999999999999999:2,", "1.host,S=99999999999999999999", "", "", -1, -1, true},
		{"a:b:2,S", "a", "S", "", -1, -1, true},
		{":2,S", "", "S", "", -1, -1, true},
		{".hidden", ".hidden", "", "", -1, -1, false},
		{"line\nfeed:2,S", "line\nfeed", "S", "", -1, -1, false},
		{"carriage\rreturn", "carriage\rreturn", "", "", -1, -1, false},
		{"", "", "", "", -1, -1, false},
	} {
		m := Message{Name: test.name}
		size, virtual := int64(-1), int64(-1)
		if n, stated := m.StatedSize(); stated {
			size = n
		}
		if n, stated := m.VirtualSize(); stated {
			virtual = n
		}
		if m.Base() != test.base || m.Flags() != test.flags || m.keywordLetters() != test.keywords ||
			size != test.size || virtual != test.virtual || m.Served() != test.served {
			t.Errorf("%q: base %q, flags %q, keywords %q, S=%d, W=%d, served %v; want %q, %q, %q, %d, %d, %v", test.name,
				m.Base(), m.Flags(), m.keywordLetters(), size, virtual, m.Served(),
				test.base, test.flags, test.keywords, test.size, test.virtual, test.served)
		}
	}
}

// FuzzFileName: a name says the same again and again, and nothing that its file
// does not have.
func FuzzFileName(f *testing.F) {
	for _, name := range []string{"1.M2P3.host,S=4,W=5:2,FSa", "1:2,", ":2,S", ".hidden", "a\nb:2,S", "x,S=99999999999999999999:2,", "a:1,b:2,RS,T", ",S=-1,W=+2"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		m := Message{Name: name}
		if base := m.Base(); strings.Contains(base, ":") || !strings.HasPrefix(name, base) {
			t.Errorf("%q has the base %q", name, base)
		}
		if strings.Trim(m.Flags(), "DFPRST") != "" || len(m.Flags()) > 6 || len(m.keywordLetters()) > 26 {
			t.Errorf("%q has the flags %q and keywords %q", name, m.Flags(), m.keywordLetters())
		}
		for _, size := range []func() (int64, bool){m.StatedSize, m.VirtualSize} {
			if n, stated := size(); stated && n < 0 {
				t.Errorf("%q states the size %d", name, n)
			}
		}
		if m.Served() && strings.ContainsAny(name, "\r\n") {
			t.Errorf("%q is served", name)
		}
	})
}
