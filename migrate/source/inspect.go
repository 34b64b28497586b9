package source

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"mailstack/migrate/remote"
)

//go:embed script/inspect.sh
var inspectScript string

// Inspect looks at the old server. Its errors are those of package remote.
func Inspect(ctx context.Context, host *remote.Host, o Options) (*Facts, error) {
	word := mark()
	out, err := host.Script(ctx, inspectScript, word, strconv.Itoa(maxPart), o.Container).Output()
	var exit *remote.ExitError
	if err != nil && !(errors.As(err, &exit) && len(out) > 0) {
		return nil, fmt.Errorf("inspect %s: %w", host.Target(), err)
	}
	facts, err := parseFacts(out, word)
	if err != nil {
		return nil, fmt.Errorf("inspect %s: %w", host.Target(), err)
	}
	facts.Target = host.Target()
	if o.Container != "" && facts.named(o.Container) == nil {
		return nil, &problem{
			fmt.Sprintf("inspect %s: no container %q runs there", host.Target(), o.Container),
			"`docker ps` there lists them",
		}
	}
	return facts, nil
}

// parseFacts reads what script/inspect.sh prints.
func parseFacts(out []byte, word string) (*Facts, error) {
	parts, ended := split(out, word)
	f := &Facts{UID: -1, MTA: MTA{Queue: -1}}
	files, filesIn := map[string]string{}, map[string]bool{}
	for _, p := range parts {
		switch p.name {
		case "no-engine":
			return nil, &problem{"neither docker nor podman answers there", "Dovecot is not in a container then: leave --container out"}
		case "files":
			where, dir, _ := strings.Cut(p.args, " ")
			filesIn[dir] = where == "inside"
		case "file":
			files[p.args] = p.body
			if c, found := fileConnection(p.args, p.body); found && len(f.SQL) < 100 {
				f.SQL = append(f.SQL, c)
			}
		default:
			f.take(p)
		}
	}
	if !ended {
		return nil, &problem{"the inspection broke off", "run the command again"}
	}
	if len(filesIn) == 1 {
		for dir, inside := range filesIn {
			f.Files, f.Inside = clean(dir), inside
		}
	}
	f.Dovecot.read(files)
	return f, nil
}

func (f *Facts) take(p part) {
	switch p.name {
	case "uid":
		f.UID = number(strings.TrimSpace(p.body))
	case "uname":
		f.OS = firstLine(p.body)
	case "os":
		f.OS = first(osRelease(p.body), f.OS)
	case "rsync":
		f.Rsync = versionIn(p.body)
	case "have":
		f.Programs = append(f.Programs, clean(p.args))
	case "exists":
		f.Traces = append(f.Traces, clean(p.args))
	case "processes":
		f.Processes = cleanLines(p.body, 2000)
	case "disks":
		f.Disks = parseDisks(p.body)
	case "containers":
		f.Engine = clean(p.args)
		f.Containers = parseContainers(p.body)
	case "boxes":
		f.Boxes = cleanLines(p.body, 20)
	case "box":
		f.Dovecot.Container = clean(p.args)
	case "mta-box":
		f.MTA.Container = clean(p.args)
	case "dovecot":
		f.Dovecot.Version = versionIn(p.body)
	case "doveconf":
		f.Dovecot.settings, f.Dovecot.Error = parseSettings(p.body)
	case "postfix":
		f.MTA.Name = strings.TrimSpace("Postfix " + versionIn(p.body))
	case "postconf":
		f.MTA.read(p.body)
	case "queue":
		f.MTA.Queue = queueLength(p.body)
	case "exim":
		f.MTA.Name, f.MTA.Queue = "Exim", number(strings.TrimSpace(p.body))
	case "sql":
		f.SQL = append(f.SQL, blockConnections(p.body)...)
	case "dkim":
		f.DKIM = cleanLines(p.body, 200)
	}
}

func osRelease(body string) string {
	for line := range strings.Lines(body) {
		if value, found := strings.CutPrefix(strings.TrimSpace(line), "PRETTY_NAME="); found {
			return clean(strings.Trim(value, `"'`))
		}
	}
	return ""
}

// versionIn is the first word that begins with a digit: "rsync  version 3.2.7",
// "2.3.19.1 (9b53102964)".
func versionIn(body string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(body), "\n")
	for word := range strings.FieldsSeq(line) {
		word = strings.TrimPrefix(word, "v")
		if word[:min(1, len(word))] >= "0" && word[:min(1, len(word))] <= "9" {
			return clean(word)
		}
	}
	return ""
}

func cleanLines(body string, most int) (lines []string) {
	for line := range strings.Lines(body) {
		if line = clean(line); line != "" && len(lines) < most {
			lines = append(lines, line)
		}
	}
	return lines
}

// parseDisks reads `df -Pk` (POSIX has its columns).
func parseDisks(body string) (disks []Disk) {
	for line := range strings.Lines(body) {
		fields := strings.Fields(line)
		if len(fields) < 6 || len(disks) >= 200 {
			continue
		}
		used, errUsed := strconv.ParseInt(fields[2], 10, 50)
		free, errFree := strconv.ParseInt(fields[3], 10, 50)
		if errUsed != nil || errFree != nil {
			continue
		}
		disks = append(disks, Disk{Mount: clean(strings.Join(fields[5:], " ")), Used: used << 10, Free: free << 10})
	}
	return disks
}

func parseContainers(body string) (containers []Container) {
	for line := range strings.Lines(body) {
		var c struct {
			Name, Image string
			Labels      map[string]string
			Mounts      []Mount
		}
		if json.Unmarshal([]byte(line), &c) != nil || c.Name == "" {
			continue
		}
		containers = append(containers, Container{
			Name: clean(strings.TrimPrefix(c.Name, "/")), Image: clean(c.Image), Labels: c.Labels, Mounts: c.Mounts,
		})
	}
	return containers
}

// read takes what matters from `postconf -n`.
func (m *MTA) read(body string) {
	for line := range strings.Lines(body) {
		key, value, _ := strings.Cut(line, "=")
		value = clean(value)
		switch strings.TrimSpace(key) {
		case "recipient_delimiter":
			m.Delimiter = value
		case "virtual_mailbox_base":
			m.MailboxBase = value
		}
	}
}

// queueLength reads the last line of `postqueue -p`: "-- 12 Kbytes in 3
// Requests." or "Mail queue is empty".
func queueLength(line string) int {
	if strings.Contains(line, "queue is empty") {
		return 0
	}
	_, after, found := strings.Cut(line, " in ")
	number, _, _ := strings.Cut(after, " ")
	n, err := strconv.Atoi(number)
	if !found || err != nil || n < 0 {
		return -1
	}
	return n
}
