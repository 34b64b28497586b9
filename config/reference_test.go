package config

import (
	"flag"
	"net/netip"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var update = flag.Bool("update", false, "write the reference file and the expected errors anew")

const referencePath = "../mailstack.toml"

// same compares two configurations, wherever they were read from.
func same(t *testing.T, want, got Config) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(Config{}, "Path"), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
}

func TestReferenceFileIsRendered(t *testing.T) {
	if *update {
		if err := os.WriteFile(referencePath, Reference(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(referencePath)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(Reference()), string(got)); diff != "" {
		t.Errorf("%s is not what settings.go says (go test ./config -update writes it anew):\n%s", referencePath, diff)
	}
}

func TestReferenceFileIsTheDefault(t *testing.T) {
	got, err := Load(referencePath)
	if err != nil {
		t.Fatal(err)
	}
	if got.Path != referencePath {
		t.Errorf("Path is %q", got.Path)
	}
	same(t, Default(), *got)
	if Active(referencePath) {
		t.Error("a key is switched on")
	}
}

func TestReferenceFileUncommentedIsTheDefault(t *testing.T) {
	data, err := os.ReadFile(referencePath)
	if err != nil {
		t.Fatal(err)
	}
	switchedOff := regexp.MustCompile(`(?m)^#([a-z0-9_]+ = )`)
	if n := len(switchedOff.FindAll(data, -1)); n != len(settings) {
		t.Errorf("%d keys to switch on, of %d", n, len(settings))
	}
	got, err := Parse("uncommented", switchedOff.ReplaceAll(data, []byte("$1")))
	if err != nil {
		t.Fatal(err)
	}
	same(t, Default(), *got)
}

// Every field of Config is a key, and every key's value goes into the field
// that carries its name.
func TestEveryFieldIsASetting(t *testing.T) {
	var c Config
	fields := map[string]any{}
	var walk func(prefix string, v reflect.Value)
	walk = func(prefix string, v reflect.Value) {
		for i := range v.NumField() {
			name := v.Type().Field(i).Tag.Get("toml")
			switch field := v.Field(i); {
			case name == "-":
			case name == "":
				t.Errorf("%s.%s has no toml name", v.Type(), v.Type().Field(i).Name)
			case field.Kind() == reflect.Struct:
				walk(prefix+name+".", field)
			default:
				fields[prefix+name] = field.Addr().Interface()
			}
		}
	}
	walk("", reflect.ValueOf(&c).Elem())

	for _, s := range settings {
		if s.field(&c) != fields[s.key] {
			t.Errorf("%s does not go into the field of that name", s.key)
		}
		if _, known := tableDocs[s.table()]; !known {
			t.Errorf("%s is in a table that tableDocs has not", s.key)
		}
		delete(fields, s.key)
	}
	for key := range fields {
		t.Errorf("%s is no setting", key)
	}
}

// The words must fit a terminal, and must not look like a key.
func TestReferenceReads(t *testing.T) {
	for i, line := range strings.Split(string(Reference()), "\n") {
		if len(line) > 90 {
			t.Errorf("line %d has %d columns: %s", i+1, len(line), line)
		}
		if strings.HasSuffix(line, " ") {
			t.Errorf("line %d ends in a blank", i+1)
		}
	}
}

func TestRenderReadsBack(t *testing.T) {
	c := Default()
	for key, values := range map[string][]string{
		"name":                  {"mailstack"},
		"hostname":              {"MAIL.bücher.example"},
		"aliases":               {"imap.example.org", "smtp.example.org"},
		"postmaster":            {"Me@bücher.example"},
		"data.dir":              {"/srv/a \"quoted\" \\ directory/"},
		"data.vmail":            {"/mail"},
		"listen.address":        {"0.0.0.0", "::"},
		"limits.message_size":   {"1000001"},
		"limits.default_quota":  {"2 GB"},
		"limits.dovecot_memory": {"300MiB"},
		"probe.timeout":         {"1m30.5s"},
	} {
		if err := c.Set(key, values...); err != nil {
			t.Errorf("set %s: %v", key, err)
		}
	}
	c.Listen.POP3 = 0
	c.Relay.Domains = map[string]Relay{
		"example.org": {Host: "smtp.example.com", Port: 587, TLS: RelayVerify},
		"example.net": {Port: 465, TLS: RelayEncrypt},
	}
	text := Render(c)
	got, err := Parse("rendered", text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	same(t, c, *got)
	if got.Hostname != "mail.xn--bcher-kva.example" || got.Postmaster != "me@xn--bcher-kva.example" {
		t.Errorf("hostname %q, postmaster %q", got.Hostname, got.Postmaster)
	}
	if on := regexp.MustCompile(`(?m)^[a-z0-9_]+ = `).FindAll(text, -1); len(on) != 16 {
		t.Errorf("%d keys are switched on, want the 16 that differ:\n%s", len(on), text)
	}
}
