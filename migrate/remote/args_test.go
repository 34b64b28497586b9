package remote

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestOptions(t *testing.T) {
	for _, test := range []struct {
		o    Options
		want string // "": accepted
	}{
		{Options{Target: "old"}, ""},
		{Options{Target: "me@old.example.org"}, ""},
		{Options{Target: "me@2001:db8::1"}, ""},
		{Options{Target: ""}, "is not [USER@]HOST"},
		{Options{Target: "-oProxyCommand=id"}, "is not [USER@]HOST"},
		{Options{Target: "me@-oProxyCommand=id"}, "is not [USER@]HOST"},
		{Options{Target: "@old"}, "is not [USER@]HOST"},
		{Options{Target: "old host"}, "is not [USER@]HOST"},
		{Options{Target: "old;id"}, "is not [USER@]HOST"},
		{Options{Target: "old/path"}, "is not [USER@]HOST"},
		{Options{Target: "old", Port: 65536}, "65536"},
		{Options{Target: "old", Slots: 100}, "at most 64"},
		{Options{Target: "old", Identity: "/nonexistent/key"}, "/nonexistent/key"},
		{Options{Target: "old", Extra: []string{"ProxyJump=gate"}}, ""},
		{Options{Target: "old", Extra: []string{"StrictHostKeyChecking=accept-new"}}, ""},
		{Options{Target: "old", Extra: []string{"StrictHostKeyChecking=no"}}, "whoever answers"},
		{Options{Target: "old", Extra: []string{"stricthostkeychecking = OFF"}}, "whoever answers"},
		{Options{Target: "old", Extra: []string{"UserKnownHostsFile=/dev/null"}}, "whoever answers"},
		{Options{Target: "old", Extra: []string{"UserKnownHostsFile=None"}}, "whoever answers"},
		{Options{Target: "old", Extra: []string{"GlobalKnownHostsFile=none"}}, ""},
		{Options{Target: "old", Extra: []string{"ControlMaster=no"}}, "shared already"},
		{Options{Target: "old", Extra: []string{"RemoteCommand=id"}}, "cannot be set"},
		{Options{Target: "old", Extra: []string{"StrictHostKeyChecking no"}}, "not Keyword=value"},
		{Options{Target: "old", Extra: []string{"Port=1\nProxyCommand=id"}}, "not Keyword=value"},
	} {
		err := test.o.check()
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%+v: %v, want %q", test.o, err, test.want)
		}
	}
}

// rsyncWords splits like rsync's do_cmd (main.c).
func rsyncWords(t *testing.T, s string) (words []string) {
	t.Helper()
	var word strings.Builder
	in, quote := false, byte(0)
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quote == 0 && c == ' ':
			if in {
				words = append(words, word.String())
				word.Reset()
			}
			in = false
		case quote == 0 && (c == '\'' || c == '"'):
			in, quote = true, c
		case quote != 0 && c == quote && i+1 < len(s) && s[i+1] == quote:
			word.WriteByte(c)
			i++
		case quote != 0 && c == quote:
			quote = 0
		default:
			in = true
			word.WriteByte(c)
		}
	}
	if quote != 0 {
		t.Fatalf("quote %q is not closed: %s", quote, s)
	}
	if in {
		words = append(words, word.String())
	}
	return words
}

func TestRsyncShell(t *testing.T) {
	program, _ := fakeSSH(t, "")
	h := connect(t, Options{Target: "me@old", Program: program, Slots: 3, Extra: []string{
		"ProxyCommand=nc 'my gate' %p", `SetEnv=A="b ""c"""`,
	}})
	args := h.RsyncShell(2)
	if len(args) != 2 || args[0] != "-e" {
		t.Fatalf("arguments of rsync: %q", args)
	}
	want := append([]string{program}, h.options(2, false)...)
	if diff := cmp.Diff(want, rsyncWords(t, args[1])); diff != "" {
		t.Errorf("-e (-want +got):\n%s", diff)
	}
	for target, want := range map[string]string{"old": "old:/a b", "me@old": "me@old:/a b", "me@2001:db8::1": "me@[2001:db8::1]:/a b"} {
		if got := (&Host{opts: Options{Target: target}}).RsyncPath("/a b"); got != want {
			t.Errorf("%s: %s, want %s", target, got, want)
		}
	}
}

func FuzzQuote(f *testing.F) {
	for _, seed := range []string{"", "a", "a b", "'", "''", "a'b\n", `\`, "$(id)", "`", "!", "~", "-n", "é\x80", "%", "=a", "#"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, word string) {
		if strings.Contains(word, "\x00") {
			return // no argument of a program can hold it
		}
		out, err := exec.Command("sh", "-c", "printf '%s.' "+Quote(word, word)).Output()
		if err != nil || string(out) != word+"."+word+"." {
			t.Errorf("%q came out as %q, %v", word, out, err)
		}
		if !strings.ContainsAny(word, "\t\n\v\f\r") {
			if got := rsyncWords(t, quoteRsync(word)+" "+quoteRsync(word)); !slices.Equal(got, []string{word, word}) {
				t.Errorf("%q came out of rsync as %q", word, got)
			}
		}
	})
}
