package config

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Each bad file has its exact errors beside it: what a user reads is part of
// the program. go test ./config -update writes them anew; read the diff.
func TestBadFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.toml")
	if err != nil || len(files) < 25 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".toml"), func(t *testing.T) {
			c, err := Load(file)
			var problems *Problems
			if !errors.As(err, &problems) {
				t.Fatalf("want problems, got %+v, %v", c, err)
			}
			got := strings.ReplaceAll(err.Error(), file+":", "mailstack.toml:") + "\n"
			golden := strings.TrimSuffix(file, ".toml") + ".err"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("errors (-want +got):\n%s", diff)
			}
		})
	}
}

// What only somebody else can judge is refused in the same way, beside all else.
func TestJudges(t *testing.T) {
	refuse := Judge{"probe.warning", func(value string) error {
		if value == "good" {
			return nil
		}
		return errors.New(value + " is bad: allowed is good")
	}}
	_, err := Parse("mailstack.toml", []byte("[probe]\nwarning = [\"good\"]\ncritical = [\"anything\"]\n"), refuse)
	if err != nil {
		t.Errorf("what no judge refuses: %v", err)
	}
	_, err = Parse("mailstack.toml", []byte("name = \"?\"\n\n[probe]\nwarning = [\"good\", \"x\",\n  \"y\"]\n"), refuse)
	want := `mailstack.toml:1: name: "?" is not a stack name: allowed are 1 to 32 small letters, digits and hyphens, no hyphen first
mailstack.toml:4: probe.warning: x is bad: allowed is good
mailstack.toml:4: probe.warning: y is bad: allowed is good`
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want\n%s", err, want)
	}
}

func TestGoodFiles(t *testing.T) {
	addrs := func(texts ...string) (list []netip.Addr) {
		for _, text := range texts {
			list = append(list, netip.MustParseAddr(text))
		}
		return list
	}
	for file, change := range map[string]func(*Config){
		"empty":       func(*Config) {},
		"tables-only": func(*Config) {},
		"windows":     func(*Config) {},
		"real": func(c *Config) {
			c.Name = "mailstack"
			c.Hostname = "mail.example.org"
			c.Aliases = []string{"imap.example.org", "smtp.example.org"}
			c.Postmaster = "me@example.org"
			c.Data = Data{
				Dir: "/var/lib/mailstack", MySQL: "/mnt/database",
				MySQLSocket: "/mnt/socket", Vmail: "/var/lib/mailstack/vmail",
			}
			c.Listen.Addresses = addrs("0.0.0.0", "::")
			c.Listen.POP3, c.Listen.POP3S = 0, 0
			c.Relay = Relay{Host: "192.0.2.25", Port: 465, User: "me@example.org", PasswordFile: "/etc/mailstack/relay", TLS: "encrypt"}
			c.Limits.MessageBytes = 20_000_000
			c.Limits.QuotaBytes = 5_000_000_000
		},
		"relay-domains": func(c *Config) {
			c.Relay.Host = "smtp.example.net"
			c.Relay.Domains = map[string]Relay{
				"example.org": {
					Host: "smtp.example.com", Port: 465, User: "me", TLS: "verify",
					PasswordFile: "/etc/mailstack/relay-example.org", CAFile: "/etc/ssl/ours.pem",
				},
				"xn--bcher-kva.example": {Port: 587, TLS: "verify"},
				"sub.example.org":       {Host: "192.0.2.25", Port: 587, TLS: "encrypt"},
			}
		},
		"other-spellings": func(c *Config) {
			c.Name = "test-1"
			c.Hostname = "mail.xn--bcher-kva.localhost"
			c.Postmaster = "demo@mail.xn--bcher-kva.localhost"
			c.Data.Dir = "/srv/test-1"
			c.Listen.Addresses = addrs("127.0.0.1")
			c.Listen.IMAP = 10143
			c.Probe.Timeout = 90 * time.Second
		},
		"tls-files": func(c *Config) {
			c.Name = "mailstack"
			c.Hostname = "mail.example.org"
			c.Postmaster = "me@example.org"
			c.Data.Dir = "/var/lib/mailstack"
			c.TLS.Mode = "files"
			c.TLS.Names = []string{"autoconfig.example.org", "mta-sts.example.org", "*.example.net"}
			c.TLS.CertFile = "/etc/letsencrypt/live/mail.example.org/fullchain.pem"
			c.TLS.KeyFile = "/etc/letsencrypt/live/mail.example.org/privkey.pem"
			c.TLS.Extra = []string{"/etc/letsencrypt/live/mail.example.net"}
		},
		"tls-acme": func(c *Config) {
			c.TLS.Mode = "acme"
			c.TLS.Key, c.TLS.ReuseKey = "rsa", true
			c.TLS.ACMEDirectory = "https://[::1]:14000/dir"
			c.TLS.ACMETermsAgreed = true
			c.TLS.ACMEEmail = "me@example.org"
			c.TLS.ACMEChallenge = "dns-01"
			c.TLS.ACMEHTTPAddress = "[::1]:80"
			c.TLS.ACMEDNSProvider = "rfc2136"
			c.TLS.ACMEDNSEnvFile = "/etc/mailstack/dns.env"
			c.TLS.ACMEResolvers = []string{"192.0.2.53:53", "[2001:db8::53]:5353"}
			c.TLS.ACMEProfile = "tlsserver"
			c.TLS.ACMEEABKeyID = "kid-1"
			c.TLS.ACMEEABHMACFile = "/etc/mailstack/eab"
			c.TLS.ACMECAFile = "/etc/mailstack/pebble.pem"
		},
	} {
		t.Run(file, func(t *testing.T) {
			want := Default()
			change(&want)
			got, err := Load("testdata/good/" + file + ".toml")
			if err != nil {
				t.Fatal(err)
			}
			same(t, want, *got)
		})
	}
}

func TestLoadNothingIsTheDemonstration(t *testing.T) {
	c, err := Load("")
	if err != nil {
		t.Fatal(err)
	}
	same(t, Default(), *c)
	if c.Path != "" || !c.Demonstration() || !c.Loopback() {
		t.Errorf("path %q, demonstration %v, loopback %v", c.Path, c.Demonstration(), c.Loopback())
	}
	if c, err = Load("testdata/good/real.toml"); err != nil {
		t.Fatal(err)
	}
	if c.Demonstration() || c.Loopback() {
		t.Errorf("real: demonstration %v, loopback %v", c.Demonstration(), c.Loopback())
	}
}

// A file that cannot be read is no Problems: there is no line to name.
func TestLoadUnreadable(t *testing.T) {
	huge := filepath.Join(t.TempDir(), "huge.toml")
	if err := os.WriteFile(huge, []byte(strings.Repeat("#\n", maxFileBytes)), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"testdata/none.toml": "read configuration: open testdata/none.toml: no such file or directory",
		"testdata":           "read configuration: read testdata: is a directory",
		huge:                 "read configuration: " + huge + " is larger than 1MiB",
	} {
		if _, err := Load(path); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// TestLoadUntrusted: what anybody may write is no configuration.
func TestLoadUntrusted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mailstack.toml")
	load := func(want string) {
		t.Helper()
		_, err := Load(path)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if err := os.WriteFile(path, []byte("# the demonstration\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	chmod := func(path string, mode os.FileMode) {
		t.Helper()
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	load("")
	chmod(path, 0o666)
	load("can be written by anybody (mode 0666): chmod o-w " + path)
	chmod(path, 0o664)
	load("")
	chmod(filepath.Dir(path), 0o777|os.ModeSticky)
	load("") // our own
	if os.Geteuid() != 0 {
		return // whose file it is cannot be changed
	}
	if err := os.Chown(path, 1234, 1234); err != nil {
		t.Fatal(err)
	}
	load("lies where anybody may make files")
	t.Setenv("SUDO_UID", "1234")
	load("")
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	none := filepath.Join(dir, "none")
	active := write("active", "name = \"demo\"\n")
	broken := write("broken", "name = demo\n")
	inactive := write("inactive", string(Reference()))
	system := write("system", "name = \"demo\"\n")
	for _, test := range []struct{ about, local, system, want string }{
		{"no file", none, none, ""},
		{"only the system's", none, system, system},
		{"only a local one", active, none, active},
		{"a local one goes first", active, system, active},
		{"a broken one is not passed over", broken, system, broken},
		{"one without a key gives way", inactive, system, system},
		{"and counts where it is the only one", inactive, none, inactive},
	} {
		if got, err := find(test.local, test.system); got != test.want || err != nil {
			t.Errorf("%s: got %q, %v, want %q", test.about, got, err, test.want)
		}
	}
	if got, err := Find(none); got != none || err != nil {
		t.Errorf("explicit: got %q, %v", got, err)
	}
}

func TestDataResolved(t *testing.T) {
	want := Data{Dir: "/d", MySQL: "/d/mysql", MySQLSocket: "/d/socket/mysql", Vmail: "/mail", Queue: "/d/queue"}
	if got := (Data{Dir: "/d", Vmail: "/mail"}).Resolved(); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestSetRefuses(t *testing.T) {
	c := Default()
	for key, values := range map[string][]string{
		"frobnicate":     {"x"},
		"name":           {"a", "b"},
		"hostname":       {"mail"},
		"listen.address": {},
		"listen.imap":    {"143"},
	} {
		if err := c.Set(key, values...); err == nil {
			t.Errorf("%s took %q", key, values)
		}
	}
	same(t, Default(), c)
}

// A size that is written must be read as the same number.
func TestSizes(t *testing.T) {
	for _, n := range []int64{0, 1, 999, 1000, 1024, 1500, 50 * mib, 5e9, 1 << 50, 1<<62 + 1} {
		if got, err := ParseSize(formatSize(n)); got != n || err != nil {
			t.Errorf("%d is written %s and read %d, %v", n, formatSize(n), got, err)
		}
	}
	for text, want := range map[string]int64{"50mib": 50 * mib, "1 kB": 1000, "7B": 7} {
		if got, err := ParseSize(text); got != want || err != nil {
			t.Errorf("%s is read %d, %v", text, got, err)
		}
	}
}

func TestEditDistance(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want int
	}{
		{"", "", 0},
		{"", "abc", 3},
		{"imap", "imap", 0},
		{"imap", "imaps", 1},
		{"hsotname", "hostname", 1},
		{"kitten", "sitting", 3},
	} {
		if got := editDistance(test.a, test.b); got != test.want {
			t.Errorf("%q to %q: got %d, want %d", test.a, test.b, got, test.want)
		}
	}
}

// Whatever a file holds, it is a valid configuration or has problems that name
// lines of it, one line each; and what is valid survives being written.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*/*.toml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse("fuzz", data)
		if err == nil {
			again, err := Parse("fuzz", Render(*c))
			if err != nil {
				t.Fatalf("rendered: %v", err)
			}
			same(t, *c, *again)
			return
		}
		var problems *Problems
		if !errors.As(err, &problems) {
			t.Fatal(err)
		}
		if got := strings.Count(err.Error(), "\n") + 1; got != len(problems.List) {
			t.Errorf("%d lines for %d problems:\n%v", got, len(problems.List), err)
		}
		for _, p := range problems.List {
			if p.Line < 1 || p.Line > strings.Count(string(data), "\n")+1 || p.Message == "" {
				t.Errorf("%+v", p)
			}
		}
	})
}
