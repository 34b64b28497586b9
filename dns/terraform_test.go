package dns

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	mdns "github.com/miekg/dns"
	"github.com/zclconf/go-cty/cty"
)

// TestTerraform reads what is written as Terraform does, and makes of each
// resource the records that its provider would.
func TestTerraform(t *testing.T) {
	for provider, read := range map[string]func(*testing.T, map[string]cty.Value) []string{"route53": readRoute53, "cloudflare": readCloudflare} {
		t.Run(provider, func(t *testing.T) {
			p := fullPlan()
			var out bytes.Buffer
			if err := p.WriteTerraform(&out, provider); err != nil {
				t.Fatal(err)
			}
			golden(t, provider+".tf", out.Bytes())
			var meant []string
			for _, r := range p.Records {
				if r.Kind != KindPTR {
					meant = append(meant, bare(p.Zone(r))+": "+r.RR.String())
				}
			}
			var got []string
			for _, resource := range resources(t, out.Bytes()) {
				got = append(got, read(t, resource)...)
			}
			slices.Sort(meant)
			slices.Sort(got)
			if diff := cmp.Diff(meant, got); diff != "" {
				t.Errorf("(-meant +got):\n%s", diff)
			}
		})
	}
}

// TestTerraformSets: Route 53 takes one resource for all records of a name and type,
// each string of a text no longer than 255, and names without a dot at the end.
func TestTerraformSets(t *testing.T) {
	var out bytes.Buffer
	if err := fullPlan().WriteTerraform(&out, "route53"); err != nil {
		t.Fatal(err)
	}
	sizes := map[string]int{}
	for _, r := range resources(t, out.Bytes()) {
		name, rrtype, values := r["name"].AsString(), r["type"].AsString(), r["records"].AsValueSlice()
		if key := name + " " + rrtype; sizes[key] > 0 || len(values) == 0 {
			t.Errorf("%s: another resource of it, or one without records", key)
		} else {
			sizes[key] = len(values)
		}
		if strings.HasSuffix(name, ".") {
			t.Errorf("%s ends in a dot", name)
		}
		for _, v := range values {
			for part := range strings.SplitSeq(v.AsString(), `""`) {
				if rrtype == "TXT" && (len(part) > maxString || strings.Contains(part, `"`)) {
					t.Errorf("%s: %d octets, or a quote of its own: %s", name, len(part), part)
				}
			}
		}
	}
	if sizes["_25._tcp.mail.example.org TLSA"] != 2 || sizes["mail.example.org A"] != 1 {
		t.Errorf("records of each name and type: %v", sizes)
	}
}

// resources evaluates the resources of a file, none of which has the same name
// as another.
func resources(t *testing.T, file []byte) (all []map[string]cty.Value) {
	t.Helper()
	parsed, problems := hclsyntax.ParseConfig(file, "mail.tf", hcl.InitialPos)
	if problems.HasErrors() {
		t.Fatal(problems)
	}
	zones := map[string]cty.Value{"example.org": cty.StringVal("example.org"), "example.net": cty.StringVal("example.net")}
	scope := &hcl.EvalContext{Variables: map[string]cty.Value{"var": cty.ObjectVal(map[string]cty.Value{"mail_zone_ids": cty.MapVal(zones)})}}
	seen := map[string]bool{}
	for _, block := range parsed.Body.(*hclsyntax.Body).Blocks {
		label := strings.Join(block.Labels, ".")
		if block.Type == "variable" && label == "mail_zone_ids" && !seen[label] {
			seen[label] = true
			continue
		}
		if block.Type != "resource" || seen[label] || len(block.Labels) != 2 || len(block.Body.Blocks) > 0 {
			t.Errorf("%s %s, or it is there twice, or holds blocks", block.Type, label)
		}
		seen[label] = true
		values := map[string]cty.Value{"type of resource": cty.StringVal(block.Labels[0])}
		for name, attribute := range block.Body.Attributes {
			value, problems := attribute.Expr.Value(scope)
			if problems.HasErrors() {
				t.Fatal(problems)
			}
			values[name] = value
		}
		all = append(all, values)
	}
	return all
}

func number(v cty.Value) string { return v.AsBigFloat().Text('f', 0) }

// record is a line of a zone file, as a record prints it.
func record(t *testing.T, r map[string]cty.Value, data string) string {
	t.Helper()
	line := fmt.Sprintf("%s. %s IN %s %s", r["name"].AsString(), number(r["ttl"]), r["type"].AsString(), data)
	rr, err := mdns.NewRR(line)
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return r["zone_id"].AsString() + ": " + rr.String()
}

// exactly fails where a resource has other arguments than these.
func exactly(t *testing.T, r map[string]cty.Value, arguments ...string) {
	t.Helper()
	for name := range r {
		if !slices.Contains(arguments, name) && name != "type of resource" {
			t.Errorf("%s: %s is no argument of it", r["name"].AsString(), name)
		}
	}
}

func readRoute53(t *testing.T, r map[string]cty.Value) (records []string) {
	exactly(t, r, "zone_id", "name", "type", "ttl", "records")
	if got := r["type of resource"].AsString(); got != "aws_route53_record" {
		t.Errorf("a resource of %s", got)
	}
	for _, v := range r["records"].AsValueSlice() {
		data := v.AsString()
		if r["type"].AsString() == "TXT" { // the provider quotes it
			data = `"` + data + `"`
		}
		records = append(records, record(t, r, data))
	}
	return records
}

func readCloudflare(t *testing.T, r map[string]cty.Value) []string {
	if got := r["type of resource"].AsString(); got != "cloudflare_dns_record" {
		t.Errorf("a resource of %s", got)
	}
	common := []string{"zone_id", "name", "type", "ttl"}
	data := func(keys ...string) string {
		var parts []string
		for _, key := range keys {
			v := r["data"].GetAttr(key)
			if v.Type() == cty.Number {
				parts = append(parts, number(v))
			} else {
				parts = append(parts, v.AsString())
			}
		}
		return strings.Join(parts, " ")
	}
	var line string
	switch r["type"].AsString() {
	case "MX":
		exactly(t, r, append(common, "content", "priority")...)
		line = number(r["priority"]) + " " + r["content"].AsString() + "."
	case "SRV":
		exactly(t, r, append(common, "data", "priority")...)
		if number(r["priority"]) != data("priority") {
			t.Error("two priorities")
		}
		line = strings.TrimSuffix(data("priority", "weight", "port", "target"), ".") + "."
	case "TLSA":
		exactly(t, r, append(common, "data")...)
		line = data("usage", "selector", "matching_type", "certificate")
	case "CAA":
		exactly(t, r, append(common, "data")...)
		line = data("flags", "tag", "value")
	case "A", "AAAA", "CNAME":
		exactly(t, r, append(common, "content", "proxied")...)
		if r["proxied"].True() {
			t.Errorf("%s is proxied, which takes web traffic only", r["name"].AsString())
		}
		line = r["content"].AsString()
		if r["type"].AsString() == "CNAME" {
			line += "."
		}
	default:
		exactly(t, r, append(common, "content")...)
		line = r["content"].AsString()
	}
	return []string{record(t, r, line)}
}
