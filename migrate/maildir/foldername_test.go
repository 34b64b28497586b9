package maildir

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestUTF7(t *testing.T) {
	for _, test := range []struct{ encoded, name string }{
		{"Sent", "Sent"},
		{"Entw&APw-rfe", "Entwürfe"},
		{"a &- b", "a & b"},
		{"~peter/mail/&U,BTFw-/&ZeVnLIqe-", "~peter/mail/台北/日本語"}, // RFC 3501, section 5.1.3
		{"&2D3cqQ-", "💩"},
		{"a&AAo-b", "a\nb"},
		{"", ""},
	} {
		if name, err := DecodeUTF7(test.encoded); name != test.name || err != nil {
			t.Errorf("%q is %q, %v, want %q", test.encoded, name, err, test.name)
		}
		if encoded := EncodeUTF7(test.name); encoded != test.encoded {
			t.Errorf("%q is encoded %q, want %q", test.name, encoded, test.encoded)
		}
	}
	for _, bad := range []string{"&", "&APw", "&A-", "&AGE-", "&APw-&APw-", "&2D0-", "&3Kk-", "&AAA-", "ü", "a\x01", "&AP$-", "&APx-"} {
		if name, err := DecodeUTF7(bad); err == nil {
			t.Errorf("%q was decoded as %q", bad, name)
		}
	}
	if got := EncodeUTF7("\xfc\xff"); got != "&APwA,w-" {
		t.Errorf("Latin-1 is encoded %q", got)
	}
}

func TestKey(t *testing.T) {
	for _, test := range []struct {
		layout    Layout
		dir       string
		key, name string
	}{
		{PlusPlus, "", "", "INBOX"},
		{PlusPlus, ".Sent", ".Sent", "Sent"},
		{PlusPlus, ".Archive.2019", ".Archive.2019", "Archive/2019"},
		{PlusPlus, ".v1\\2e0", ".v1\\2e0", "v1.0"},
		{PlusPlus, ".Entw&APw-rfe", ".Entw&APw-rfe", "Entwürfe"},
		{PlusPlus, ".Entwürfe", ".Entw&APw-rfe", "Entwürfe"},
		{PlusPlus, ".\xff\xfe", ".&AP8A,g-", "ÿþ"},
		{PlusPlus, ".&&&-", ".&&&-", "&&&-"},
		{PlusPlus, ".INBOX", "", "INBOX"},
		{PlusPlus, ".~x.~y", ".\\7ex.~y", "~x/~y"},
		{PlusPlus, ".a\\b c\\", ".a\\5cb c\\5c", "a\\b c\\"},
		{FS, "", "", "INBOX"},
		{FS, "INBOX", "", "INBOX"},
		{FS, "Archive/2019", ".Archive.2019", "Archive/2019"},
		{FS, "v1.0/a\\b", ".v1\\2e0.a\\5cb", "v1.0/a\\b"},
		{FS, "~x/~y", ".\\7ex.~y", "~x/~y"},
		{FS, "März", ".M&AOQ-rz", "März"},
	} {
		key := test.layout.Key(test.dir)
		if name := FolderName(key); key != test.key || name != test.name {
			t.Errorf("%s %q: key %q, name %q, want %q, %q", test.layout, test.dir, key, name, test.key, test.name)
		}
	}
}

// TestSpeakable: only folders that a client can name are asked for.
func TestSpeakable(t *testing.T) {
	for key, want := range map[string]bool{
		"": true, ".Sent": true, ".Archive.2019": true, ".Entw&APw-rfe": true, ".v1\\2e0": true, ".a &- b": true, ".\\7ex": true,
		".&&&-": false, ".a..b": false, ".trailing.": false, ".*": true, ".50%": true, ".line\nfeed": false, ".&AAo-": false,
		".~x": false, ".a\\b": false, ".inbox": false, ".INBOX.Sub": true, "." + strings.Repeat("y", 250): false, ".&AOQ": false,
	} {
		if got := speakable(key); got != want {
			t.Errorf("%q: %v, want %v", key, got, want)
		}
	}
}

func FuzzFolderName(f *testing.F) {
	f.Add("Archive/2019.x", true)
	f.Add(".a..b\\2e&APw-", false)
	f.Fuzz(func(t *testing.T, dir string, fs bool) {
		layout := PlusPlus
		if fs {
			layout = FS
		}
		if checkPath(dir) != nil {
			return
		}
		if !fs && (dir[0] != '.' || strings.Contains(dir, "/")) {
			return
		}
		key := layout.Key(dir)
		if key != "" && (key[0] != '.' || strings.Contains(key, "/")) {
			t.Fatalf("key of %q is %q: not a directory of a Maildir++", dir, key)
		}
		if again := PlusPlus.Key(key); again != key {
			t.Fatalf("key of %q is %q, whose key is %q", dir, key, again)
		}
		FolderName(key)
	})
}

func FuzzUTF7(f *testing.F) {
	f.Add("Entw&APw-rfe")
	f.Fuzz(func(t *testing.T, s string) {
		if name, err := DecodeUTF7(s); err == nil && EncodeUTF7(name) != s {
			t.Errorf("%q is %q, which is encoded %q", s, name, EncodeUTF7(name))
		}
		if !utf8.ValidString(s) || strings.ContainsRune(s, 0) || strings.ContainsRune(s, utf8.RuneError) {
			return
		}
		if back, err := DecodeUTF7(EncodeUTF7(s)); back != s || err != nil {
			t.Errorf("%q came back as %q, %v", s, back, err)
		}
	})
}
