package source

import (
	"context"
	_ "embed"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"mailstack/migrate/remote"
)

//go:embed script/files.sh
var filesScript string

// ReadFiles reads the accounts from docker-mailserver's files
// (https://docker-mailserver.github.io/docker-mailserver/latest/config/user-management/).
// dir is on the host; "": where Inspect found them.
func ReadFiles(ctx context.Context, host *remote.Host, facts *Facts, dir string) (*Listing, error) {
	script, args := filesScript, []string(nil)
	if dir == "" {
		if dir = facts.Files; facts.Inside {
			script, args = facts.inside(filesScript)
		}
	}
	if _, err := checkPath(dir); err != nil {
		return nil, &problem{"read docker-mailserver's files: " + err.Error(), "name the container that Dovecot runs in: --container NAME"}
	}
	word := mark()
	out, err := host.Script(ctx, script, append(args, word, dir)...).Output()
	if err != nil {
		return nil, fmt.Errorf("read docker-mailserver's files: %w", err)
	}
	parts, ended := split(out, word)
	files := map[string]string{}
	for _, p := range parts {
		files[p.args] = p.body
	}
	if _, found := files["postfix-accounts.cf"]; !found || !ended {
		return nil, &problem{"read docker-mailserver's files: " + clean(dir) + " holds no postfix-accounts.cf", "name the container that Dovecot runs in: --container NAME"}
	}
	return parseFiles(files, facts.Dovecot.DefaultScheme), nil
}

// inside makes a script run where Dovecot does; args come before the script's
// own.
func (f *Facts) inside(script string) (wrapped string, args []string) {
	if f.Dovecot.Container == "" {
		return script, nil
	}
	return "engine=$1 box=$2 script=$3\nshift 3\nexec \"$engine\" exec \"$box\" sh -c \"$script\" sh \"$@\"",
		[]string{f.Engine, f.Dovecot.Container, script}
}

func parseFiles(files map[string]string, scheme string) *Listing {
	b := newBuilder("docker-mailserver", first(scheme, "SHA512-CRYPT"))
	b.open = true
	quotas := map[string]int64{}
	for _, line := range configLines(files["dovecot-quotas.cf"]) {
		if address, size, found := strings.Cut(line, ":"); found {
			quotas[strings.ToLower(strings.TrimSpace(address))] = dovecotSize(size)
		}
	}
	for _, line := range configLines(files["postfix-accounts.cf"]) {
		address, rest, found := strings.Cut(line, "|")
		stored, attributes, _ := strings.Cut(rest, "|")
		if !found {
			b.left("line in postfix-accounts.cf", "it is not ADDRESS|HASH")
			continue
		}
		address = strings.TrimSpace(address)
		limit := quotas[strings.ToLower(address)]
		local, domain, _ := strings.Cut(address, "@")
		c := columns{home: "/var/mail/" + domain + "/" + local + "/home"} // as its accounts.sh has it
		for attribute := range strings.FieldsSeq(attributes) {
			key, value, _ := strings.Cut(strings.TrimPrefix(attribute, "userdb_"), "=")
			switch key {
			case "mail":
				c.maildir = value
			case "home":
				c.home = value
			case "quota_storage_size":
				limit = dovecotSize(value)
			case "quota_rule":
				limit = dovecotSize(strings.TrimPrefix(strings.TrimPrefix(value, "*:storage="), "*:bytes="))
			}
		}
		b.account(address, stored, limit, true, c)
	}
	for _, line := range configLines(files["postfix-virtual.cf"]) {
		fields := strings.Fields(line)
		if len(fields) < 2 || !strings.Contains(fields[0], "@") {
			b.left("alias "+fields[0], "it has no domain or leads nowhere")
			continue
		}
		b.alias(fields[0], strings.Split(strings.Join(fields[1:], ","), ","), true)
	}
	for _, line := range configLines(files["postfix-regexp.cf"]) {
		b.left("alias by pattern "+line, "patterns are not supported: write the aliases that are meant")
	}
	for _, line := range configLines(files["postfix-aliases.cf"]) {
		b.left("local alias "+line, "names without a domain are not supported")
	}
	return b.finish()
}

// configLines are the lines with something on them (docker-mailserver's
// _get_valid_lines_from_file).
func configLines(text string) (lines []string) {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") && len(lines) < maxRows {
			lines = append(lines, line)
		}
	}
	return lines
}

var sizeText = regexp.MustCompile(`^([0-9]{1,18})([BKMGT]?)(I?B)?$`)

// dovecotSize reads a size of Dovecot's (settings-parser.c, get_size): B, k, M,
// G, T, by 1024. What is none is no limit.
func dovecotSize(text string) int64 {
	m := sizeText.FindStringSubmatch(strings.ToUpper(strings.TrimSpace(text)))
	if m == nil {
		return 0
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	shift := 10 * max(slices.Index([]string{"B", "K", "M", "G", "T"}, m[2]), 0)
	if err != nil || n > math.MaxInt64>>shift {
		return 0
	}
	return n << shift
}
