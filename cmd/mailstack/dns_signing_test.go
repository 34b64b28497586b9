package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mailstack/dkim"
	"mailstack/stack"
)

// What is asked of the DNS follows the filter, which signs: with keys that nothing
// signs with, no record of theirs is needed, and no receiver is asked to be strict.
func TestRecordsOfAFilterThatIsOff(t *testing.T) {
	for _, enabled := range []bool{true, false} {
		dir := t.TempDir()
		data := filepath.Join(dir, "data")
		if err := os.Mkdir(data, 0o700); err != nil {
			t.Fatal(err)
		}
		keys, err := dkim.New("example.org", time.Now())
		if err == nil {
			err = writeKeys(stack.Layout{Dir: data}, keys)
		}
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, "mailstack.toml")
		text := fmt.Sprintf("name = \"paper\"\nhostname = \"mail.example.org\"\npostmaster = \"me@example.org\"\n[data]\ndir = %q\n[filter]\nenabled = %t\n", data, enabled)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var out, errs bytes.Buffer
		if code := run(t.Context(), []string{"--config", file, "dns", "show", "example.org", "--address", "192.0.2.25"}, nil, &out, &errs); code != 0 {
			t.Fatalf("dns show: %d\n%s", code, &errs)
		}
		for _, of := range []string{"._domainkey.example.org.  TXT", "p=quarantine"} {
			if strings.Contains(out.String(), of) != enabled {
				t.Errorf("with enabled = %t there is, or is not, %q:\n%s", enabled, of, &out)
			}
		}
		if off := "example.org: no DKIM record, as nothing signs mail while `enabled` in [filter] is false"; strings.Contains(out.String(), off) == enabled {
			t.Errorf("with enabled = %t there is, or is not, %q:\n%s", enabled, off, &out)
		}
	}
}
