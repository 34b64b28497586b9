package dkim

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// Only keys that everybody can see sign, and only those that are named are there.
func TestSignerFiles(t *testing.T) {
	d := newDomain(t)
	if err := d.Begin(noon.Add(24 * time.Hour)); err != nil {
		t.Fatal(err)
	}
	other, err := New("example.net", noon)
	if err != nil {
		t.Fatal(err)
	}
	files := SignerFiles([]Domain{d, other}, "/keys")
	const want = "[example.org.rsa-20261130.key example.org.ed-20261130.key " +
		"example.net.rsa-20261130.key example.net.ed-20261130.key domains.conf seals.conf]"
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(verb, files); !strings.Contains(got, "domains.conf") || strings.Contains(got, "PRIVATE") {
			t.Errorf("%s: %.300s", verb, got)
		}
	}
	if got := fmt.Sprint(files); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	const seals = `domain {
  "example.org" { selector = "rsa-20261130"; path = "/keys/example.org.rsa-20261130.key"; }
  "example.net" { selector = "rsa-20261130"; path = "/keys/example.net.rsa-20261130.key"; }
}
`
	if got := string(files[len(files)-1].Data); got != seals {
		t.Errorf("seals:\n%s", got)
	}
	conf := string(files[len(files)-2].Data)
	for _, line := range []string{
		`"example.org" {`, `{ selector = "rsa-20261130"; path = "/keys/example.org.rsa-20261130.key"; },`,
		`"example.net" {`, `{ selector = "ed-20261130"; path = "/keys/example.net.ed-20261130.key"; },`,
	} {
		if !strings.Contains(conf, line) {
			t.Errorf("no %s in\n%s", line, conf)
		}
	}
	if strings.Contains(conf, "20261201") {
		t.Errorf("a next key signs:\n%s", conf)
	}
	if strings.Count(conf, "{") != strings.Count(conf, "}") {
		t.Errorf("not whole:\n%s", conf)
	}
}
