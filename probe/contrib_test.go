package probe

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// TestContrib: rules, their tests and the dashboard speak of metrics that there
// are, and the dashboard leaves none out.
func TestContrib(t *testing.T) {
	t.Parallel()
	described := make(chan *prometheus.Desc, 100)
	Metrics{}.Describe(described)
	close(described)
	known := map[string]bool{}
	fqName := regexp.MustCompile(`fqName: "([^"]+)"`)
	for d := range described {
		known[fqName.FindStringSubmatch(d.String())[1]] = true
	}
	named := regexp.MustCompile(`mailstack_probe_[a-z_]+`)
	for _, path := range []string{"prometheus/mailstack.rules.yml", "prometheus/mailstack.rules.test.yml", "grafana/mailstack.json"} {
		data, err := os.ReadFile("../contrib/" + path)
		must(t, err)
		for _, name := range named.FindAllString(string(data), -1) {
			if !known[name] {
				t.Errorf("%s: there is no metric %s", path, name)
			}
		}
		if strings.HasSuffix(path, ".json") && !json.Valid(data) {
			t.Errorf("%s is no JSON", path)
		}
	}
}
