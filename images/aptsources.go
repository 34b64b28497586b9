package images

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// NoMirrorError says that nothing tells where Debian's packages are to be had.
// There is no built-in mirror: it would be a host that the administrator never
// chose.
type NoMirrorError struct {
	Root string // where apt's configuration was looked for
}

func (e *NoMirrorError) Error() string {
	return fmt.Sprintf("no Debian mirror is known: apt's sources below %s name none",
		filepath.Join(e.Root, "etc/apt"))
}

// Hint names the key that helps.
func (e *NoMirrorError) Hint() string {
	return "set [images] mirror to the URL of a Debian mirror, the one whose dists/ holds " + Suite
}

// HostMirror returns the URL of the Debian archive that apt uses on the host
// whose file system is at root ("/" for this one), without a final slash. The
// error is a *NoMirrorError where there is none, as on Ubuntu.
func HostMirror(root string) (string, error) {
	sources, err := readSources(root)
	if err != nil {
		return "", err
	}
	if s, ok := best(sources, source.isArchive); ok {
		return s.uri, nil
	}
	return "", &NoMirrorError{Root: root}
}

// hostSecurity is the URL of Debian's security archive on that host, or empty.
func hostSecurity(root string) (string, error) {
	sources, err := readSources(root)
	if err != nil {
		return "", err
	}
	s, _ := best(sources, source.isSecurity)
	return s.uri, nil
}

// source is one package archive that apt knows.
type source struct {
	uri        string
	suites     []string
	components []string
	signedBy   string
	file       string // name of the file that has it
}

// debianReleases are the code names and aliases of Debian's releases since
// buster; an archive with other names is not Debian's, or older than Docker.
var debianReleases = []string{
	"buster", "bullseye", "bookworm", "trixie", "forky", "duke", "sid",
	"oldoldstable", "oldstable", "stable", "testing", "unstable",
}

func (s source) isArchive() bool {
	return slices.Contains(s.components, "main") &&
		slices.ContainsFunc(s.suites, func(suite string) bool { return slices.Contains(debianReleases, suite) })
}

func (s source) isSecurity() bool {
	return slices.Contains(s.components, "main") &&
		slices.ContainsFunc(s.suites, func(suite string) bool {
			release, ok := strings.CutSuffix(suite, "-security")
			return ok && slices.Contains(debianReleases, release)
		})
}

// score tells Debian's own archive from other people's, which are often laid
// out for the same releases: each point is a sign, none is a proof.
func (s source) score() int {
	score := 0
	if strings.Contains(s.signedBy, "debian-archive") {
		score++
	}
	if base := path.Base(s.uri); base == "debian" || base == "debian-security" {
		score++
	}
	if s.file == "sources.list" || s.file == "debian.sources" {
		score++
	}
	return score
}

// best picks the source with the highest score above zero; of equals the first.
func best(sources []source, fits func(source) bool) (source, bool) {
	var found source
	points := 0
	for _, s := range sources {
		if fits(s) && s.score() > points {
			found, points = s, s.score()
		}
	}
	return found, points > 0
}

// readSources reads what apt reads, in its order; see sources.list(5). Only
// binary packages and only archives that a container can reach too count, so
// http and https without a password in the URL.
func readSources(root string) ([]source, error) {
	dir := filepath.Join(root, "etc/apt")
	names := []string{filepath.Join(dir, "sources.list")}
	entries, err := os.ReadDir(filepath.Join(dir, "sources.list.d"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read apt's sources: %w", err)
	}
	for _, e := range entries {
		if ext := filepath.Ext(e.Name()); ext == ".list" || ext == ".sources" {
			names = append(names, filepath.Join(dir, "sources.list.d", e.Name()))
		}
	}
	var sources []source
	for _, name := range names {
		data, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read apt's sources: %w", err)
		}
		parse := parseOneLine
		if filepath.Ext(name) == ".sources" {
			parse = parseStanzas
		}
		for _, s := range parse(string(data)) {
			s.file = filepath.Base(name)
			for _, uri := range expandURI(root, s.uri) {
				s.uri = uri
				sources = append(sources, s)
			}
		}
	}
	return sources, nil
}

// parseOneLine reads lines "deb [option=value …] URI suite component…".
func parseOneLine(data string) []source {
	var sources []source
	for line := range strings.Lines(data) {
		line, _, _ = strings.Cut(line, "#")
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "deb")
		if !ok || strings.TrimLeft(rest, " \t") == rest {
			continue
		}
		rest = strings.TrimSpace(rest)
		var options string
		if strings.HasPrefix(rest, "[") {
			if options, rest, ok = strings.Cut(rest[1:], "]"); !ok {
				continue
			}
		}
		fields := strings.Fields(rest)
		if len(fields) < 3 {
			continue
		}
		s := source{uri: fields[0], suites: fields[1:2], components: fields[2:]}
		for _, option := range strings.Fields(options) {
			if value, ok := strings.CutPrefix(strings.ToLower(option), "signed-by="); ok {
				s.signedBy = value
			}
		}
		sources = append(sources, s)
	}
	return sources
}

// parseStanzas reads deb822 stanzas, one source for each of their URIs.
func parseStanzas(data string) []source {
	var sources []source
	stanza := map[string]string{}
	key := ""
	flush := func() {
		if slices.Contains(strings.Fields(stanza["types"]), "deb") && !isNo(stanza["enabled"]) {
			for _, uri := range strings.Fields(stanza["uris"]) {
				sources = append(sources, source{
					uri: uri, suites: strings.Fields(stanza["suites"]),
					components: strings.Fields(stanza["components"]), signedBy: stanza["signed-by"],
				})
			}
		}
		stanza, key = map[string]string{}, ""
	}
	for line := range strings.Lines(data) {
		switch {
		case strings.HasPrefix(line, "#"): // even between the lines of one field
		case strings.TrimSpace(line) == "":
			flush()
		case line[0] == ' ' || line[0] == '\t':
			stanza[key] += " " + strings.TrimSpace(line)
		default:
			name, value, _ := strings.Cut(line, ":")
			key = strings.ToLower(strings.TrimSpace(name))
			stanza[key] = strings.TrimSpace(value)
		}
	}
	flush()
	return sources
}

// isNo knows apt's ways of saying no.
func isNo(s string) bool {
	return slices.Contains([]string{"no", "false", "without", "off", "disable", "0"}, strings.ToLower(s))
}

// expandURI returns the usable URLs that a source's URI stands for: itself, or
// the lines of the file of a mirror list (apt-transport-mirror(1)), which is
// what Debian's cloud images have.
func expandURI(root, uri string) []string {
	list, ok := strings.CutPrefix(uri, "mirror+file:")
	if !ok {
		if u, err := cleanMirror(uri); err == nil {
			return []string{u}
		}
		return nil
	}
	file, err := os.Open(filepath.Join(root, path.Clean("/"+strings.TrimLeft(list, "/"))))
	if err != nil {
		return nil // apt could not use it either
	}
	defer file.Close()
	var uris []string
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) > 0 {
			if u, err := cleanMirror(fields[0]); err == nil {
				uris = append(uris, u)
			}
		}
	}
	return uris
}

// cleanMirror checks a mirror's URL. It ends up in apt's sources of the images,
// where a password would be for all to read, and a space would be syntax.
func cleanMirror(mirror string) (string, error) {
	u, err := url.Parse(mirror)
	switch {
	case err != nil:
		return "", errors.New("mirror is not a URL") // the error would quote a password
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return "", errors.New("mirror is not an http or https URL")
	case u.User != nil:
		return "", errors.New("mirror's URL holds a password, which would end up in the images")
	case strings.ContainsAny(mirror, " \t[]#\"") || u.RawQuery != "":
		return "", fmt.Errorf("mirror %q is not a plain URL", mirror)
	}
	return strings.TrimRight(mirror, "/"), nil
}
