package images

import (
	"fmt"
	"strings"
	"testing"
)

func fullValues() Values {
	listen := map[string]bool{}
	for _, key := range Listeners {
		listen[key] = true
	}
	return Values{
		Stack: "test", Hostname: "mail.example.org", MessageBytes: 50 << 20,
		Secret: Secrets{"admin": "ADMINSECRET", "dovecot": "DOVECOTSECRET", "postfix": "POSTFIXSECRET", "srs": "SRSSECRET", "srs-previous": "PREVIOUSSRSSECRET", "valkey": "VALKEYSECRET"},
		Relays: []Relay{
			{Host: "relay.example.org", Port: 587, User: "me@example.org", Password: "RELAYSECRET", Verify: true},
			{Domain: "example.net", Host: "relay.example.net", Port: 465, User: "other", Password: "OTHERSECRET"},
			{Domain: "example.com"},
		},
		Listen: listen, Sockets: map[string]bool{"filter/milter": true, "filter/learn": true}, MemoryBytes: 256 << 20, IP: "ipv6",
		Filter: Filter{WhenDown: "tempfail", Mark: 6, Greylist: 4, Reject: 15, TrustedForwarders: []string{"lists.example.net", "example.com"}},
	}
}

// minimalValues has what every stack has, and nothing else.
func minimalValues() Values {
	v := fullValues()
	v.Relays, v.Listen, v.Sockets, v.Filter = nil, nil, nil, Filter{}
	return v
}

func TestEveryTemplateRenders(t *testing.T) {
	for name, v := range map[string]Values{"full": fullValues(), "minimal": minimalValues()} {
		for _, service := range Services() {
			t.Run(name+"/"+service, func(t *testing.T) {
				files, err := Render(service, v)
				if err != nil {
					t.Fatal(err)
				}
				if len(files) == 0 {
					t.Error("no files")
				}
				for _, f := range files {
					if strings.Contains(string(f.Data), "<no value>") {
						t.Errorf("%s: a value is missing", f.Path)
					}
				}
			})
		}
	}
}

func TestSecretsOnlyInSecretFiles(t *testing.T) {
	for _, service := range Services() {
		files, err := Render(service, fullValues())
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if strings.HasPrefix(f.Path, "config/") && strings.Contains(string(f.Data), "SECRET") {
				t.Errorf("%s: %s holds a secret", service, f.Path)
			}
			if strings.HasPrefix(f.Path, "secret/") && f.Mode&0o007 != 0 {
				t.Errorf("%s: %s may be read by others: %v", service, f.Path, f.Mode)
			}
		}
	}
}

// TestRelays: each domain's mail takes its way, with its password.
func TestRelays(t *testing.T) {
	files, err := Render("postfix", fullValues())
	if err != nil {
		t.Fatal(err)
	}
	text := map[string]string{}
	for _, f := range files {
		text[f.Path] = string(f.Data)
	}
	for _, want := range []struct{ file, text string }{
		{"config/main.cf", "\ndefault_transport = smarthost0:[relay.example.org]:587\n"},
		{"config/main.cf", "{ /@example[.]net$$/ smarthost1:[relay.example.net]:465 }"},
		{"config/main.cf", "{ /@example[.]com$$/ smtp: }"},
		{"config/master.cf", "\nsmarthost0 unix"},
		{"config/master.cf", "\nsmarthost1 unix"},
		{"secret/relay", "[relay.example.org]:587 me@example.org:RELAYSECRET\n@example.net other:OTHERSECRET\n"},
	} {
		if !strings.Contains(text[want.file], want.text) {
			t.Errorf("%s has no %q", want.file, want.text)
		}
	}
	if strings.Contains(text["config/master.cf"], "smarthost2") {
		t.Error("there is a service for a smarthost that there is none of")
	}
}

// TestIP: what is not to be tried is not tried, by smarthosts either.
func TestIP(t *testing.T) {
	for ip, want := range map[string]struct {
		first string
		only  int // services that know one kind of addresses
	}{"ipv4-first": {"ipv4", 0}, "ipv6-first": {"ipv6", 0}, "ipv4": {"ipv4", 3}, "ipv6": {"ipv6", 3}} {
		v := fullValues()
		v.IP = ip
		files, err := Render("postfix", v)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if f.Path == "config/main.cf" && !strings.Contains(string(f.Data), "\nsmtp_address_preference = "+want.first+"\n") {
				t.Errorf("%s: the preference is another", ip)
			}
			if n := strings.Count(string(f.Data), "\n  -o inet_protocols="+want.first+"\n"); f.Path == "config/master.cf" && n != want.only {
				t.Errorf("%s: %d services have one kind of addresses, want %d", ip, n, want.only)
			}
		}
	}
	v := fullValues()
	v.IP = ""
	if _, err := Render("postfix", v); err == nil {
		t.Error("no choice is one")
	}
}

func TestOwners(t *testing.T) {
	for _, c := range []struct {
		service, path string
		want          string
	}{
		{"mysql", "config/my.cnf", "-rw-r--r-- 0:0"},
		{"mysql", "secret/admin", "-r--r----- 0:5301"},
		{"postfix", "secret/x", "-rw-r----- 0:5305"},
		{"dovecot", "secret/x", "-rw------- 0:0"},
		{"dovecot", "elsewhere", "-rw------- 0:0"},
	} {
		f := newFile(c.service, c.path, nil)
		if got := fmt.Sprintf("%v %d:%d", f.Mode, f.UID, f.GID); got != c.want {
			t.Errorf("%s %s: %s, want %s", c.service, c.path, got, c.want)
		}
	}
}

func TestRenderReportsAllProblemsWithoutSecrets(t *testing.T) {
	v := fullValues()
	v.Hostname = "mail\nexample"
	v.Secret["dovecot"] = "DOVECOTSECRET\x00"
	v.Relays[0].Password = "RELAYSECRET\r"
	v.Relays[0].Port = 0
	v.Listen["http"] = true
	_, err := Render("mysql", v)
	if err == nil {
		t.Fatal("no error")
	}
	want := `render mysql: hostname holds the control character U+000A
secret "dovecot" holds the control character U+0000
relay password holds the control character U+000D
relay port 0 is not in 1-65535
no listener is named "http", only ` + fmt.Sprintf("%q", Listeners)
	if err.Error() != want {
		t.Errorf("got:\n%v\nwant:\n%v", err, want)
	}
}

func TestMissingSecretIsAnError(t *testing.T) {
	v := fullValues()
	delete(v.Secret, "admin")
	if _, err := Render("mysql", v); err == nil || !strings.Contains(err.Error(), "admin") {
		t.Errorf("got %v, want an error that names the secret", err)
	}
}

func TestValuesDoNotPrintSecrets(t *testing.T) {
	v := fullValues()
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		for _, value := range []any{v, v.Relays[0], v.Relays, &v.Relays[0], v.Secret} {
			if s := fmt.Sprintf(format, value); strings.Contains(s, "SECRET") {
				t.Errorf("%s of %T: %s", format, value, s)
			}
		}
	}
}

func TestQuoting(t *testing.T) {
	for _, c := range []struct {
		quote      func(string) (string, error)
		give, want string // want "": an error
	}{
		{quoteDovecot, `a "b" \c #`, `"a \"b\" \\c #"`},
		{quoteDovecot, `100%`, ""},
		{quoteDovecot, `$ENV:HOME`, ""},
		{quoteDovecot, "a\nb", ""},
		{quoteMainCf, `a$b`, `a$$b`},
		{quoteMainCf, "a\n b", ""},
		{quotePostfix, `a$b c`, `a$b c`},
		{quotePostfix, " a", ""},
		{quotePostfix, "a\x00", ""},
		{quotePlain, ` a"$%\ `, ` a"$%\ `},
		{quotePlain, "a\rb", ""},
		{quotePlain, "a\xffb", ""},
	} {
		got, err := c.quote(c.give)
		if (err != nil) != (c.want == "") || err == nil && got != c.want {
			t.Errorf("%q: got %q, %v; want %q", c.give, got, err, c.want)
		}
	}
}
