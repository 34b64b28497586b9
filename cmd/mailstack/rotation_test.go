package main

import (
	"strings"
	"testing"
	"time"

	"mailstack/dkim"
	"mailstack/dns"
)

// A rotation, step by step: nothing signs before every name server has it, nothing
// is taken out of the DNS while it may be needed, and to look again changes nothing.
func TestAdvance(t *testing.T) {
	noon := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	d, err := dkim.New("example.org", noon)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Begin(noon.Add(24 * time.Hour)); err != nil {
		t.Fatal(err)
	}
	const rsa, ed, oldRSA, oldEd = "rsa-20261201", "ed-20261201", "rsa-20261130", "ed-20261130"
	there := keySight{Sight: dns.Sight{With: []string{"ns1", "ns2"}}}
	half := keySight{Sight: dns.Sight{With: []string{"ns1"}, Without: []string{"ns2"}}}
	gone := keySight{Sight: dns.Sight{Without: []string{"ns1", "ns2"}}}
	for _, step := range []struct {
		what   string
		after  time.Duration
		sights map[string]keySight
		done   string // "" for nothing
		text   []string
	}{
		{
			"nobody answers", 0, nil, "",
			[]string{"signs with " + oldRSA + ", " + oldEd, "publish " + rsa + "._domainkey.example.org  TXT  v=DKIM1; k=rsa; p=MII", "publish " + ed + "._domainkey"},
		},
		{"at one server of two", 0, map[string]keySight{rsa: there, ed: half}, "", []string{"ns1 has it, and ns2 does not"}},
		{"old ones are seen, for what that is worth", 0, map[string]keySight{oldRSA: there, oldEd: there}, "", nil},
		{
			"at both", 0,
			map[string]keySight{rsa: there, ed: there},
			"signs with " + rsa + ", " + ed,
			[]string{"signs with " + rsa + ", " + ed + "\n", "keep    " + oldRSA + "._domainkey.example.org  until 2026-12-08", "keep    " + oldEd},
		},
		{"again", 0, map[string]keySight{rsa: there, ed: there}, "", nil},
		{"removed too early", 0, map[string]keySight{oldRSA: gone, oldEd: gone}, "", []string{"keep    " + oldRSA}},
		{"a second too early", dkim.Overlap - time.Second, nil, "", []string{"keep    " + oldRSA}},
		{
			"over", dkim.Overlap, nil, "no longer needs the records of " + oldRSA + ", " + oldEd,
			[]string{"remove  " + oldRSA + "._domainkey.example.org", "remove  " + oldEd},
		},
		{"still there", dkim.Overlap, map[string]keySight{oldRSA: there, oldEd: half}, "", []string{"remove  " + oldRSA}},
		{"one is removed", dkim.Overlap, map[string]keySight{oldRSA: there, oldEd: gone}, "has no record of " + oldEd, []string{"remove  " + oldRSA}},
		{"both are removed", dkim.Overlap, map[string]keySight{oldRSA: gone}, "has no record of " + oldRSA, nil},
	} {
		sights := map[string]keySight{}
		for selector, s := range step.sights {
			sights["example.org "+selector] = s
		}
		done, err := advance(&d, sights, noon.Add(24*time.Hour).Add(step.after))
		if got := strings.Join(done, "; "); err != nil || (got == "") != (step.done == "") || !strings.HasPrefix(got, step.done) {
			t.Errorf("%s: done %q, want %q, %v", step.what, got, step.done, err)
		}
		text := rotationText([]dkim.Domain{d}, sights)
		for _, want := range step.text {
			if !strings.Contains(text, want) {
				t.Errorf("%s: no %q in\n%s", step.what, want, text)
			}
		}
	}
	if text := rotationText([]dkim.Domain{d}, nil); text != "example.org\n  signs with "+rsa+", "+ed+"\n" {
		t.Errorf("at the end:\n%s", text)
	}
}
