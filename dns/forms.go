package dns

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	mdns "github.com/miekg/dns"
)

// recordJSON is a record as programs read it.
type recordJSON struct {
	Domain   string `json:"domain"` // the mail domain; "": the host
	Kind     string `json:"kind"`
	Zone     string `json:"zone"`
	Name     string `json:"name"`
	Type     string `json:"type"`
	TTL      uint32 `json:"ttl"` // seconds
	Value    string `json:"value"`
	Required bool   `json:"required"`
	Reason   string `json:"reason"`
}

func (p Plan) json(r Record) recordJSON {
	return recordJSON{r.Domain, r.Kind, p.Zone(r), r.Name(), r.Type(), r.RR.Header().Ttl, r.Value(), r.Required, r.Reason}
}

// MarshalJSON gives the records with their zones, and the notes.
func (p Plan) MarshalJSON() ([]byte, error) {
	records, notes := []recordJSON{}, p.Notes
	for _, r := range p.Records {
		records = append(records, p.json(r))
	}
	if notes == nil {
		notes = []string{}
	}
	return json.Marshal(struct {
		Hostname string       `json:"hostname"`
		Records  []recordJSON `json:"records"`
		Notes    []string     `json:"notes"`
	}{p.Host.Name, records, notes})
}

// TextOptions say how WriteText writes.
type TextOptions struct {
	Colour bool // with the escape sequences of terminals
}

// WriteText writes the plan for people: each record with its reason below.
func (p Plan) WriteText(w io.Writer, o TextOptions) error {
	dim, bold, plain := "", "", ""
	if o.Colour {
		dim, bold, plain = "\x1b[2m", "\x1b[1m", "\x1b[0m"
	}
	out := &printer{w: w}
	heading := ""
	for _, r := range p.Records {
		title := "For " + r.Domain
		if r.Domain == "" {
			title = "For the host " + p.Host.Name
		}
		if title != heading {
			if heading != "" {
				out.printf("\n")
			}
			out.printf("%s%s%s\n", bold, title, plain)
			heading = title
		}
		out.printf("  %s  %s  %s\n", r.Name(), r.Type(), r.Value())
		out.printf("      %s%s: %s%s\n", dim, r.Level(), r.Reason, plain)
	}
	if len(p.Notes) > 0 {
		out.printf("\n%sNot among them%s\n", bold, plain)
	}
	for _, note := range p.Notes {
		out.printf("  %s\n", note)
	}
	return out.err
}

// WriteZone writes the records as lines of zone files (RFC 1035 section 5), by
// zone. What a zone has besides, SOA and NS records, is its owner's.
func (p Plan) WriteZone(w io.Writer) error {
	out := &printer{w: w}
	for i, zone := range p.Zones() {
		if i > 0 {
			out.printf("\n")
		}
		out.printf("; zone %s\n", zone)
		reason := ""
		for _, r := range p.Of(zone).Records {
			if r.Reason != reason {
				out.printf("; %s: %s\n", r.Level(), r.Reason)
				reason = r.Reason
			}
			out.printf("%s\t%d\tIN\t%s\t%s\n", r.Name(), r.RR.Header().Ttl, r.Type(), r.Value())
		}
	}
	for i, note := range p.Notes {
		if i == 0 {
			out.printf("\n")
		}
		out.printf("; %s\n", note)
	}
	return out.err
}

// printer keeps the first error.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) printf(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, args...)
	}
}

// bare is a name without the dot at the end; the root stays one.
func bare(name string) string {
	if name == "." {
		return name
	}
	return strings.TrimSuffix(name, ".")
}

// isReversed says whether a zone is one of reversed addresses.
func isReversed(zone string) bool { return mdns.IsSubDomain("arpa.", zone) }
