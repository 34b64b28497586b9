package dns

import (
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	mdns "github.com/miekg/dns"
)

// Providers are those that WriteTerraform knows.
var Providers = []string{"route53", "cloudflare"}

// WriteTerraform writes the records as resources of Terraform, for Route 53
// (aws_route53_record) or Cloudflare (cloudflare_dns_record, of version 5 of the
// provider). The zones' ids are a variable. Records of reversed addresses are
// left out: they are in zones of whoever gave the address.
func (p Plan) WriteTerraform(w io.Writer, provider string) error {
	out := &printer{w: w}
	out.printf("variable \"mail_zone_ids\" {\n")
	out.printf("  description = \"By name of the zone, its id: %s\"\n", strings.Join(p.forward(), ", "))
	out.printf("  type        = map(string)\n}\n")
	labels := map[string]int{}
	for _, set := range p.sets() {
		zone := bare(p.Zone(set[0]))
		if provider == "route53" {
			out.route53(zone, label(labels, set[0]), set)
			continue
		}
		for _, r := range set {
			out.cloudflare(zone, label(labels, r), r)
		}
	}
	for i, note := range p.Notes {
		if i == 0 {
			out.printf("\n")
		}
		out.printf("# %s\n", note)
	}
	return out.err
}

// forward are the zones that are no reversed addresses'.
func (p Plan) forward() (zones []string) {
	for _, zone := range p.Zones() {
		if !isReversed(zone) {
			zones = append(zones, bare(zone))
		}
	}
	return zones
}

// sets are the records of the forward zones, those of one name and type
// together: there can be only one resource for them at Route 53.
func (p Plan) sets() (sets [][]Record) {
	at := map[string]int{}
	for _, r := range p.Records {
		key := r.Name() + " " + r.Type()
		i, ok := at[key]
		switch {
		case isReversed(p.Zone(r)):
		case ok:
			sets[i] = append(sets[i], r)
		default:
			at[key] = len(sets)
			sets = append(sets, []Record{r})
		}
	}
	return sets
}

var notInLabel = regexp.MustCompile(`[^a-z0-9_-]+`)

// label is a name for a resource that is not taken yet.
func label(taken map[string]int, r Record) string {
	base := notInLabel.ReplaceAllString(strings.ToLower(bare(r.Name())), "_") + "_" + strings.ToLower(r.Type())
	if c := base[0]; c >= '0' && c <= '9' { // no identifier begins so
		base = "_" + base
	}
	taken[base]++
	if n := taken[base]; n > 1 {
		return fmt.Sprintf("%s_%d", base, n)
	}
	return base
}

// route53 writes a resource as
// https://registry.terraform.io/providers/hashicorp/aws/latest/docs/resources/route53_record describes it.
func (p *printer) route53(zone, label string, set []Record) {
	for i, r := range set {
		if i == 0 {
			p.printf("\n")
		}
		p.printf("# %s: %s\n", r.Level(), r.Reason)
	}
	p.printf("resource \"aws_route53_record\" %q {\n", label)
	p.printf("  zone_id = var.mail_zone_ids[%s]\n", quoteHCL(zone))
	p.printf("  name    = %s\n  type    = %q\n  ttl     = %d\n", quoteHCL(bare(set[0].Name())), set[0].Type(), set[0].RR.Header().Ttl)
	p.printf("  records = [\n")
	for _, r := range set {
		content := r.Value()
		if txt, ok := r.RR.(*mdns.TXT); ok { // the provider sets the outer quotes
			content = strings.Join(txt.Txt, `""`)
		}
		p.printf("    %s,\n", quoteHCL(content))
	}
	p.printf("  ]\n}\n")
}

// cloudflare writes a resource as
// https://registry.terraform.io/providers/cloudflare/cloudflare/latest/docs/resources/dns_record describes it.
// The provider wants the priority of an SRV record twice, or sees a change in
// every plan.
func (p *printer) cloudflare(zone, label string, r Record) {
	p.printf("\n# %s: %s\n", r.Level(), r.Reason)
	p.printf("resource \"cloudflare_dns_record\" %q {\n", label)
	p.printf("  zone_id = var.mail_zone_ids[%s]\n", quoteHCL(zone))
	p.printf("  name    = %s\n  type    = %q\n  ttl     = %d\n", quoteHCL(bare(r.Name())), r.Type(), r.RR.Header().Ttl)
	switch rr := r.RR.(type) {
	case *mdns.MX:
		p.printf("  content = %s\n  priority = %d\n", quoteHCL(bare(rr.Mx)), rr.Preference)
	case *mdns.SRV:
		p.printf("  priority = %d\n", rr.Priority)
		p.printf("  data = {\n    priority = %d\n    weight   = %d\n    port     = %d\n    target   = %s\n  }\n",
			rr.Priority, rr.Weight, rr.Port, quoteHCL(bare(rr.Target)))
	case *mdns.TLSA:
		p.printf("  data = {\n    usage         = %d\n    selector      = %d\n    matching_type = %d\n    certificate   = %s\n  }\n",
			rr.Usage, rr.Selector, rr.MatchingType, quoteHCL(rr.Certificate))
	case *mdns.CAA:
		p.printf("  data = {\n    flags = %d\n    tag   = %s\n    value = %s\n  }\n", rr.Flag, quoteHCL(rr.Tag), quoteHCL(rr.Value))
	case *mdns.CNAME:
		p.printf("  content = %s\n  proxied = false\n", quoteHCL(bare(rr.Target)))
	case *mdns.A, *mdns.AAAA:
		p.printf("  content = %s\n  proxied = false\n", quoteHCL(r.Value()))
	default: // TXT, with its quotes
		p.printf("  content = %s\n", quoteHCL(r.Value()))
	}
	p.printf("}\n")
}

// quoteHCL writes a string of HCL, in which "${" and "%{" begin templates.
func quoteHCL(s string) string {
	return strings.NewReplacer("${", "$${", "%{", "%%{").Replace(strconv.Quote(s))
}
