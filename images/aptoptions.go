package images

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os/exec"
	"strings"
)

// aptOption is a setting of apt.conf(5).
type aptOption struct{ key, value string }

// String is the setting as apt.conf has it.
func (o aptOption) String() string { return fmt.Sprintf("%s %q;", o.key, o.value) }

// hostAptOptions returns those of the host's apt settings without which its
// mirror cannot be used: proxies, and whether old or future dates are taken.
// They are given to the base image too, so that building on it works the same
// way; proxies whose URL holds a password are left out. A host without apt has
// none.
func hostAptOptions(ctx context.Context) ([]aptOption, error) {
	out, err := exec.CommandContext(ctx, "apt-config", "dump").Output()
	if errors.Is(err, exec.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read apt's settings: apt-config dump: %w", err)
	}
	return parseAptOptions(string(out)), nil
}

// parseAptOptions picks from lines like
//
//	Acquire::http::Proxy "http://proxy.example.org:3128";
func parseAptOptions(dump string) []aptOption {
	var options []aptOption
	for line := range strings.Lines(dump) {
		key, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		value, ok := strings.CutSuffix(strings.TrimPrefix(rest, `"`), `";`)
		if !ok || value == "" || strings.ContainsAny(value, "\"\\\n") {
			continue
		}
		switch lower := strings.ToLower(key); {
		case lower == "acquire::check-valid-until", lower == "acquire::check-date":
		case isProxyKey(lower):
			if u, err := url.Parse(value); err != nil || u.User != nil {
				continue
			}
		default:
			continue
		}
		options = append(options, aptOption{key, value})
	}
	return options
}

// isProxyKey knows the key of all hosts and those of one host each.
func isProxyKey(key string) bool {
	for _, scheme := range []string{"http", "https"} {
		proxy := "acquire::" + scheme + "::proxy"
		if key == proxy || strings.HasPrefix(key, proxy+"::") {
			return true
		}
	}
	return false
}
