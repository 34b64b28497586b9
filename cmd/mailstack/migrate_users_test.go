package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestParseUsers: who is in the file of --users, as spreadsheets and people write it.
// All that is wrong is said at once, and never with a password.
func TestParseUsers(t *testing.T) {
	for _, test := range []struct {
		name, text string
		want       string // LOGIN PASSWORD ADDRESS; …
		says       []string
	}{
		{"plain", "bob@example.org,hidden\n", "bob@example.org hidden bob@example.org", nil},
		{"other name", "# a comment\nbob,\"hid,\"\"den\", Bob@Example.ORG\r\n", `bob hid,"den bob@example.org`, nil},
		{"byte order mark", "\ufeffbob@example.org,hidden\n", "bob@example.org hidden bob@example.org", nil},
		{"mark alone", "\ufeff", "", []string{"there is no user in it"}},
		{"blanks", "bob@example.org,\" hidden \"\n", "bob@example.org  hidden  bob@example.org", nil},
		{"empty", "", "", []string{"there is no user in it"}},
		{"quote", "bob@example.org,\"hidden\nal,x\n", "", []string{"line 2: "}},
		{"several", "bob,hidden\nx@example.org,\nbob@example.org;hidden\na@example.org,hidden\nA@example.org,hidden\n", "", []string{
			"line 1: ", "line 2: user name or password is empty", "line 3: 1 fields", "line 5: a@example.org is in line 4 already",
		}},
		{"escapes", "x,hidden,../../etc@example.org/../x\ny,hidden,a@../b\n", "", []string{"line 1: ", "line 2: "}},
	} {
		t.Run(test.name, func(t *testing.T) {
			users, err := parseUsers(strings.NewReader(test.text))
			if len(test.says) == 0 {
				var got []string
				for _, u := range users {
					got = append(got, u.login+" "+u.password.Reveal()+" "+u.address.String())
				}
				if text := strings.Join(got, "; "); err != nil || text != test.want {
					t.Errorf("got %q, %v, want %q", text, err, test.want)
				}
				return
			}
			if err == nil {
				t.Fatal("it is taken")
			}
			for _, want := range append(test.says, "") {
				if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hidden") {
					t.Errorf("%q, want %q and no password", err, want)
				}
			}
		})
	}
}

// TestReadUsers: a file that others can read, or that a link leads to, is refused.
func TestReadUsers(t *testing.T) {
	dir := t.TempDir()
	open, link, own := filepath.Join(dir, "open"), filepath.Join(dir, "link"), filepath.Join(dir, "own")
	for file, mode := range map[string]os.FileMode{open: 0o640, own: 0o600} {
		if err := os.WriteFile(file, []byte("bob@example.org,hidden\n"), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(own, link); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{open, link, dir, "/dev/null", filepath.Join(dir, "none")} {
		if _, err := readUsers(file); err == nil {
			t.Errorf("%s is taken", file)
		}
	}
	if users, err := readUsers(own); err != nil || len(users) != 1 {
		t.Errorf("%v, %v", users, err)
	}
}

// FuzzUsers: a file of users names each account once, or it is refused.
func FuzzUsers(f *testing.F) {
	f.Add("alice,secret-of-a,alice@example.org\n# comment\n\"b,b\",\"secret\"\"x\",bob@example.org\n")
	f.Add("\ufeffalice@example.org,secret-of-a\nalice@example.org,secret-of-b\n")
	f.Add("a,b,c,d\n\"")
	f.Fuzz(func(t *testing.T, file string) {
		users, err := parseUsers(strings.NewReader(file))
		seen := map[string]bool{}
		for _, u := range users {
			if u.login == "" || seen[u.address.String()] {
				t.Errorf("user %q, %s", u.login, u.address)
			}
			seen[u.address.String()] = true
		}
		if err == nil && len(users) == 0 {
			t.Error("no user, and no error")
		}
	})
}
