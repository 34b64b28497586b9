package dns

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/url"
	"slices"
	"strings"

	mdns "github.com/miekg/dns"
)

// texts are the TXT records of an answer; the strings of one are one text.
func texts(a Answer) (all []string) {
	for _, rr := range a.Records {
		all = append(all, strings.Join(rr.(*mdns.TXT).Txt, ""))
	}
	return all
}

// versioned are the texts that begin with a version as a whole word.
func versioned(a Answer, version string) (all []string) {
	for _, text := range texts(a) {
		rest, ok := strings.CutPrefix(strings.ToLower(text), strings.ToLower(version))
		if ok && (rest == "" || strings.ContainsAny(rest[:1], " ;\t")) {
			all = append(all, text)
		}
	}
	return all
}

// one is the only text of a version. Two of them are none, as those who read
// them are told.
func one(r Record, a Answer, version string) (text string, status Status, words string) {
	switch found := versioned(a, version); len(found) {
	case 0:
		return "", r.missing(), ""
	case 1:
		return found[0], OK, ""
	default:
		return "", Wrong, fmt.Sprintf("%d of them count as none", len(found))
	}
}

// tags reads a list of "name=value" (RFC 6376 section 3.2), whose values may be
// folded.
func tags(text string) map[string]string {
	all := map[string]string{}
	for part := range strings.SplitSeq(text, ";") {
		name, value, ok := strings.Cut(part, "=")
		if name = strings.TrimSpace(name); ok && name != "" {
			if _, twice := all[name]; !twice {
				all[name] = strings.TrimSpace(value)
			}
		}
	}
	return all
}

// wellFormed says whether a text is such a list, and nothing else.
func wellFormed(text string) bool {
	for part := range strings.SplitSeq(text, ";") {
		if strings.TrimSpace(part) != "" && !strings.Contains(part, "=") {
			return false
		}
	}
	return true
}

// judgeDKIM takes the key in any order of tags, and other keys beside it.
func judgeDKIM(_ context.Context, _ *view, r Record, a Answer) (Status, string, error) {
	want := tags(texts(Answer{Records: []mdns.RR{r.RR}})[0])
	words := ""
	for _, text := range texts(a) {
		got := tags(text)
		if version, ok := got["v"]; ok && version != "DKIM1" {
			continue
		}
		key, ok := got["p"]
		switch {
		case !ok:
		case !wellFormed(text):
			words = "it cannot be read"
		case key == "":
			words = "the key is revoked"
		case !sameKey(key, want["p"]):
			words = "it is another key"
		case got["k"] != want["k"] && (got["k"] != "" || want["k"] != "rsa"):
			words = "it is another kind of key"
		default:
			return OK, "", nil
		}
	}
	if words != "" {
		return Wrong, words, nil
	}
	return r.missing(), "", nil
}

// sameKey compares what two texts in base64 mean.
func sameKey(a, b string) bool {
	decode := func(s string) string {
		data, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(s), ""))
		if err != nil {
			return "no base64: " + s
		}
		return string(data)
	}
	return decode(a) == decode(b)
}

// judgeDMARC takes any policy (RFC 7489 section 6.3): a stricter one is its
// owner's choice.
func judgeDMARC(_ context.Context, _ *view, r Record, a Answer) (Status, string, error) {
	text, status, words := one(r, a, "v=DMARC1")
	if status != OK {
		return status, words, nil
	}
	got := tags(text)
	if !slices.Contains([]string{"none", "quarantine", "reject"}, strings.ToLower(got["p"])) {
		return Wrong, fmt.Sprintf("p=%s is no policy", got["p"]), nil
	}
	if err := receivers(got["rua"], "mailto"); got["rua"] != "" && err != nil {
		return Wrong, err.Error(), nil
	}
	return OK, "", nil
}

// judgeTLSRPT takes reports to anybody (RFC 8460 section 3).
func judgeTLSRPT(_ context.Context, _ *view, r Record, a Answer) (Status, string, error) {
	text, status, words := one(r, a, "v=TLSRPTv1")
	if status != OK {
		return status, words, nil
	}
	if err := receivers(tags(text)["rua"], "mailto", "https"); err != nil {
		return Wrong, err.Error(), nil
	}
	return OK, "", nil
}

// receivers checks to whom reports go.
func receivers(list string, schemes ...string) error {
	for part := range strings.SplitSeq(list, ",") {
		part, _, _ = strings.Cut(strings.TrimSpace(part), "!") // a limit of size
		u, err := url.Parse(part)
		if err != nil || !slices.Contains(schemes, u.Scheme) || u.Scheme == "mailto" && !strings.Contains(u.Opaque, "@") {
			return fmt.Errorf("rua=%s names nobody to report to", list)
		}
	}
	return nil
}

// judgeMTASTS judges both records: the one with the id, and the name of the web
// server.
func judgeMTASTS(ctx context.Context, v *view, r Record, a Answer) (Status, string, error) {
	if _, ok := r.RR.(*mdns.CNAME); ok {
		return judgeAlias(ctx, v, r, a)
	}
	text, status, words := one(r, a, "v=STSv1")
	if status != OK {
		return status, words, nil
	}
	switch id := tags(text)["id"]; id {
	case v.plan.Host.PolicyID:
		return OK, "", nil
	case "":
		return Wrong, "it has no id", nil
	default:
		return Warning, "another id: whoever knows it does not ask for the policy of now", nil
	}
}
