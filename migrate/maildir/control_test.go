package maildir

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

func TestParseUIDList(t *testing.T) {
	for _, test := range []struct {
		name, data     string
		validity, next uint32
		uids           string
	}{
		{"version 3", "3 V1275660208 N25022 G3085f01b7f11094c501100008c4a11c1\n25006 :a.M1P2.h,S=1:2,S\n25017 W2481 :b,S=2\n", 1275660208, 25022, "a.M1P2.h,S=1=25006 b,S=2=25017"},
		{"several extensions", "3 V1 N9\n3 P0000000100000001 W5 O7 :x\n", 1, 9, "x=3"},
		{"version 1", "1 1077 5\n3 a\n4 b:2,S\n", 1077, 5, "a=3 b=4"},
		{"next UID behind", "3 V1 N2\n7 :x\n", 1, 8, "x=7"},
		{"unknown header", "3 Xwhat V1 N2\n", 1, 2, ""},
		{"last line unfinished", "3 V1 N3\n1 :x\n2 :y", 1, 3, "x=1"},
		{"colons in a name", "3 V1 N2\n1 :x:2,a:b\n", 1, 2, "x=1"},
		{"blanks in a name", "3 V1 N2\n1 :x y:2,\n", 1, 2, "x y=1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			l, err := ParseUIDList([]byte(test.data))
			var uids []string
			for _, base := range slices.Sorted(maps.Keys(l.UIDs)) {
				uids = append(uids, base+"="+itoa(l.UIDs[base]))
			}
			if err != nil || l.Validity != test.validity || l.Next != test.next || strings.Join(uids, " ") != test.uids {
				t.Errorf("UIDVALIDITY %d, next %d, %q, %v", l.Validity, l.Next, uids, err)
			}
		})
	}
	if l, _ := ParseUIDList([]byte("3 V1 N2\n1 S7 W9 :x\n")); l.Virtual["x"] != 9 {
		t.Errorf("W9 was read as %d", l.Virtual["x"])
	}
}

func itoa(n uint32) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + itoa(n%10)
}

// TestParseUIDListBroken: what Dovecot drops is an error.
func TestParseUIDListBroken(t *testing.T) {
	for _, data := range []string{
		"", "3 V1 N1", "2 V1 N1\n", "3 V1\n", "3 N1\n", "3 V0 N1\n", "3 V99999999999 N1\n", "1 5\n", "x\n",
		"3 V1 N5\n2 :a\n2 :b\n", "3 V1 N5\n2 :a\n1 :b\n", "3 V1 N5\n0 :a\n", "3 V1 N5\n4294967295 :a\n", "3 V1 N5\n1\n", "3 V1 N5\n1 \n",
		"3 V1 N5\n1 W5\n", "3 V1 N5\n1 :\n", "3 V1 N5\n1 :a/b\n", "1 7 5\n5 a\n", "3 V1 N5\nx :a\n",
	} {
		if l, err := ParseUIDList([]byte(data)); err == nil {
			t.Errorf("%q was read: %+v", data, l)
		}
	}
}

// TestUIDListOfTooMany: a list is bounded like the files that it names.
func TestUIDListOfTooMany(t *testing.T) {
	list := []byte("3 V1 N9 G1\n1 :a\n2 :b\n3 :c\n")
	if _, err := parseUIDList(list, 3); err != nil {
		t.Error(err)
	}
	if _, err := parseUIDList(list, 2); err == nil || !strings.Contains(err.Error(), "more than 2 messages") {
		t.Errorf("three messages where two are the most: %v", err)
	}
}

func FuzzParseUIDList(f *testing.F) {
	f.Add([]byte("3 V1275660208 N25022 G3085f01b7f11094c501100008c4a11c1\n25006 :a.M1P2.h,S=1:2,S\n25017 W2481 :b,S=2\n"))
	f.Add([]byte("1 1077 5\n3 a\n4 b:2,S\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := ParseUIDList(data)
		if err != nil {
			return
		}
		for base, uid := range l.UIDs {
			if uid == 0 || uid >= l.Next || strings.Contains(base, "\n") {
				t.Errorf("UID %d of %q, and the next is %d", uid, base, l.Next)
			}
		}
	})
}

func TestParseKeywords(t *testing.T) {
	words := ParseKeywords([]byte("0 $Forwarded\n1 Junk\n25 last\n26 none\nx y\n2\n3 \n4 junk\n1 again\n"))
	if want := map[byte]string{'a': "$Forwarded", 'b': "again", 'z': "last"}; !maps.Equal(words, want) {
		t.Errorf("keywords %v, want %v", words, want)
	}
}

func TestSubscriptions(t *testing.T) {
	for _, test := range []struct {
		layout Layout
		data   string
		keys   string
	}{
		{PlusPlus, "Sent\nArchive.2019\nINBOX\n", " .Archive.2019 .Sent"},
		{PlusPlus, "V\t2\n\nArchive\t2019\nSent\nSent\n", ".Archive.2019 .Sent"},
		{PlusPlus, "Entwürfe\n", ".Entw&APw-rfe"},
		{FS, "Archive/2019\nv1.0\n", ".Archive.2019 .v1\\2e0"},
		{FS, "V\t2\n\nArchive\tv1.0\n", ".Archive.v1\\2e0"},
		{FS, "V\t2\n\na\x01tb\n", ".a\tb"},
		{PlusPlus, "", ""},
	} {
		keys := ParseSubscriptions([]byte(test.data), test.layout)
		if got := strings.Join(keys, " "); got != test.keys {
			t.Errorf("%s %q: %q, want %q", test.layout, test.data, got, test.keys)
		}
		if again := ParseSubscriptions(FormatSubscriptions(keys), PlusPlus); !slices.Equal(again, keys) {
			t.Errorf("%s %q: %q came back as %q", test.layout, test.data, keys, again)
		}
	}
}

func FuzzSubscriptions(f *testing.F) {
	f.Add([]byte("V\t2\n\nArchive\t2019\n"), true)
	f.Fuzz(func(t *testing.T, data []byte, fs bool) {
		layout := PlusPlus
		if fs {
			layout = FS
		}
		keys := ParseSubscriptions(data, layout)
		if again := ParseSubscriptions(FormatSubscriptions(keys), PlusPlus); !slices.Equal(again, keys) {
			t.Errorf("%q came back as %q", keys, again)
		}
		ParseKeywords(data)
	})
}
