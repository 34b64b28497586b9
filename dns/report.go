package dns

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	mdns "github.com/miekg/dns"
)

// Report is what a check found, in the order of the plan.
type Report struct {
	Plan     Plan
	Findings []Finding
}

// Count says how many records are in a state.
func (r Report) Count(s Status) (n int) {
	for _, f := range r.Findings {
		if f.Status == s {
			n++
		}
	}
	return n
}

// Of are the findings about one of Kinds.
func (r Report) Of(kind string) (some []Finding) {
	for _, f := range r.Findings {
		if f.Record.Kind == kind {
			some = append(some, f)
		}
	}
	return some
}

// Summary is the report in one line.
func (r Report) Summary() string {
	parts := []string{fmt.Sprintf("%d of %d records are as they should be", r.Count(OK), len(r.Findings))}
	for _, s := range []struct {
		status Status
		words  string
	}{
		{Wrong, "%d wrong or missing"},
		{Warning, "%d recommended"},
		{Unknown, "%d not answered"},
	} {
		if n := r.Count(s.status); n > 0 {
			parts = append(parts, fmt.Sprintf(s.words, n))
		}
	}
	return strings.Join(parts, ", ")
}

// mark is a status in one letter and, for terminals, its colour.
func (s Status) mark() (letter, colour string) {
	switch s {
	case OK:
		return "✓", "\x1b[32m"
	case Wrong:
		return "✗", "\x1b[31m"
	}
	return "!", "\x1b[33m"
}

// purposes are what people call records of type TXT.
var purposes = map[string]string{
	KindSPF: "SPF", KindDKIM: "DKIM", KindDMARC: "DMARC", KindTLSRPT: "TLS-RPT", KindMTASTS: "MTA-STS",
}

// title is what a finding is about.
func (f Finding) title() string {
	what := f.Record.Type()
	if what == "TXT" {
		what = purposes[f.Record.Kind]
	}
	return what + " of " + bare(f.Record.Name())
}

// shown are those of the data that was seen which have to do with the record:
// texts for other purposes share its name.
func (f Finding) shown() []string {
	if f.Record.RR.Header().Rrtype != mdns.TypeTXT {
		return f.Seen
	}
	version, _, _ := strings.Cut(strings.Trim(f.Record.Value(), `"`), " ")
	version = strings.TrimSuffix(version, ";")
	alike := slices.DeleteFunc(slices.Clone(f.Seen), func(s string) bool {
		return !strings.Contains(strings.ToLower(s), strings.ToLower(version))
	})
	if len(alike) > 0 {
		return alike
	}
	return f.Seen
}

// Sight is what was seen, in one line.
func (f Finding) Sight() string {
	const most = 3
	shown := f.shown()
	switch {
	case f.Status == OK && slices.Contains(shown, f.Record.Value()):
		return f.Record.Value()
	case len(shown) == 0:
		return "none"
	case len(shown) > most:
		return strings.Join(shown[:most], "; ") + fmt.Sprintf(" and %d more", len(shown)-most)
	}
	return strings.Join(shown, "; ")
}

// Text is a finding in one line, without its mark.
func (f Finding) Text() string {
	words := ""
	if f.Words != "" {
		words = " (" + f.Words + ")"
	}
	switch {
	case f.Status == Unknown:
		return f.title() + ": " + f.Words
	case f.Status == OK && len(f.Seen) == 0:
		if f.Words != "" {
			return f.title() + ": " + f.Words
		}
		return f.title() + ": leads to an address"
	}
	return f.title() + ": " + f.Sight() + words
}

// WriteText writes the report for people: a line for each record, and below what
// is not as it should be what was expected, and why; then what was not compared.
func (r Report) WriteText(w io.Writer, o TextOptions) error {
	out := &printer{w: w}
	for _, f := range r.Findings {
		out.finding(f, o)
	}
	for _, note := range r.Plan.Notes {
		out.printf("- %s\n", note)
	}
	out.printf("%s\n", r.Summary())
	return out.err
}

func (p *printer) finding(f Finding, o TextOptions) {
	mark, colour := f.Status.mark()
	if o.Colour {
		mark = colour + mark + "\x1b[0m"
	}
	p.printf("%s %s\n", mark, printable(f.Text()))
	if f.Status == Warning || f.Status == Wrong {
		p.printf("    expected: %s\n    %s: %s\n", cmp.Or(f.Record.Value(), "the public address of this host"), f.Record.Level(), f.Record.Reason)
	}
}

// Write writes one finding as WriteText does.
func (f Finding) Write(w io.Writer, o TextOptions) error {
	out := &printer{w: w}
	out.finding(f, o)
	return out.err
}

// maxLine bounds what a name server can put on a terminal, in bytes.
const maxLine = 500

// printable makes what others said safe for a terminal.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '.'
		}
		return r
	}, strings.ToValidUTF8(s, "."))
	if len(s) > maxLine {
		s = strings.ToValidUTF8(s[:maxLine], "") + "…"
	}
	return s
}

// findingJSON is a finding as programs read it.
type findingJSON struct {
	recordJSON
	Status Status   `json:"status"`
	Seen   []string `json:"seen"`
	Words  string   `json:"words"`
	Server string   `json:"server"`
}

// MarshalJSON gives all findings.
func (r Report) MarshalJSON() ([]byte, error) {
	findings := []findingJSON{}
	for _, f := range r.Findings {
		seen := f.Seen
		if seen == nil {
			seen = []string{}
		}
		findings = append(findings, findingJSON{r.Plan.json(f.Record), f.Status, seen, f.Words, f.Server})
	}
	return json.Marshal(struct {
		Hostname string        `json:"hostname"`
		OK       int           `json:"ok"`
		Warning  int           `json:"warning"`
		Wrong    int           `json:"wrong"`
		Unknown  int           `json:"unknown"`
		Records  []findingJSON `json:"records"`
	}{r.Plan.Host.Name, r.Count(OK), r.Count(Warning), r.Count(Wrong), r.Count(Unknown), findings})
}
