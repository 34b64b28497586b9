package source

import (
	"context"
	_ "embed"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"mailstack/migrate/remote"
)

//go:embed script/datadir.sh
var datadirScript string

// maxMajor.maxMinor is the newest MariaDB whose data directory the database image can
// open: its own version (images/mysql).
const maxMajor, maxMinor = 11, 8

// Datadir is the data directory of a stopped database server. It is never
// opened where it is: the caller copies it, and a container that is thrown away
// reads the copy (Dumper).
type Datadir struct {
	Path    string
	Version string // that last ran there, "10.11.6-MariaDB"; "" not known
	Bytes   int64  // on the disk there, without BinaryLogs
}

// BinaryLogs are patterns of rsync(1) for a server's, at the top of its data
// directory: they can be larger than all the rest, and say nothing that the tables
// do not.
var BinaryLogs = []string{"/*-bin.[0-9]*", "/binlog.[0-9]*"}

// InspectDatadir looks at a data directory on the old server and says whether our
// MariaDB can open a copy of it. Its errors have a hint.
func InspectDatadir(ctx context.Context, host *remote.Host, path string) (Datadir, error) {
	path, err := checkPath(path)
	if err != nil {
		return Datadir{}, &problem{"the data directory of the old server: " + err.Error(), "name it as it is there: --mysql-datadir /var/lib/mysql"}
	}
	word := mark()
	out, err := host.Script(ctx, datadirScript, word, path).Output()
	if err != nil {
		return Datadir{}, fmt.Errorf("look at %s on %s: %w", clean(path), host.Target(), err)
	}
	d, err := parseDatadir(path, out, word)
	if err != nil {
		return d, fmt.Errorf("look at %s on %s: %w", clean(path), host.Target(), err)
	}
	return d, nil
}

// parseDatadir reads what script/datadir.sh prints.
func parseDatadir(path string, out []byte, word string) (Datadir, error) {
	d := Datadir{Path: path}
	parts, ended := split(out, word)
	if !ended {
		return d, &problem{"the answer broke off", "run the command again"}
	}
	var names []string
	var versions []string
	for _, p := range parts {
		switch p.name {
		case "missing":
			return d, &problem{"there is no such directory", "name the one with ibdata1 in it, often /var/lib/mysql"}
		case "closed":
			return d, &problem{"it cannot be read", "log in as root, or use --sudo"}
		case "names":
			names = cleanLines(p.body, 10000)
		case "file":
			versions = append(versions, upgradedTo(p.body))
		case "redo":
			versions = append(versions, madeBy(p.body))
		case "size":
			kib, _ := strconv.ParseInt(strings.TrimSpace(p.body), 10, 50)
			d.Bytes = max(kib, 0) << 10
		case "open":
			if by := firstLine(p.body); by != "" {
				return d, &problem{
					"it is in use (by " + by + "): a copy of it would be worth nothing",
					"leave --mysql-datadir out: a server that runs is asked itself; or stop it",
				}
			}
		}
	}
	d.Version = first(versions...)
	return d, d.openable(names, versions)
}

// openable says why our MariaDB cannot open it.
func (d *Datadir) openable(names, versions []string) error {
	has := func(name string) bool { return slices.Contains(names, name) }
	if !has("ibdata1") && !has("mysql") && !has("mysql.ibd") {
		return &problem{
			"this is no data directory of MariaDB or MySQL: it has neither ibdata1 nor mysql/", "it is the one with ibdata1 in it, often /var/lib/mysql",
		}
	}
	for _, version := range versions {
		m := versionNumbers.FindStringSubmatch(version)
		if m == nil {
			continue
		}
		major, _ := strconv.Atoi(m[1])
		minor, _ := strconv.Atoi(m[2])
		switch {
		case strings.Contains(version, "MariaDB") && (major > maxMajor || major == maxMajor && minor > maxMinor):
			return unreadable(fmt.Sprintf("MariaDB %s, newer than the %d.%d here", strings.TrimSuffix(version, "-MariaDB"), maxMajor, maxMinor),
				fmt.Sprintf("MariaDB %d.%d", major, minor))
		case !strings.Contains(version, "MariaDB") && (major > 5 || major == 5 && minor > 7):
			return unreadable(fmt.Sprintf("MySQL %s, which MariaDB cannot open", version), fmt.Sprintf("MySQL %d.%d", major, minor))
		}
	}
	if has("mysql.ibd") {
		return unreadable("MySQL 8 or newer (it has mysql.ibd), which MariaDB cannot open", "that MySQL")
	}
	if d.Version == "" && has("aria_log_control") {
		d.Version = "MariaDB" // of some version
	}
	return nil
}

// unreadable is a directory that only its own server can read.
func unreadable(what, server string) error {
	return &problem{
		"this is a data directory of " + what,
		"start " + server + " with it on the old server and leave --mysql-datadir out: a server that runs is asked itself",
	}
}

// Unread explains why a copy could not be read, by what the server says that
// tried.
func (d Datadir) Unread(said string) error {
	server := "its own database server"
	if d.Version != "" {
		server += " (" + d.Version + ")"
	}
	if m := redoMadeBy.FindStringSubmatch(said); m != nil {
		return &problem{
			fmt.Sprintf("read the copy of %s: its server was killed, and only %s can recover it", clean(d.Path), clean(m[1])),
			fmt.Sprintf("start %s with it on the old server; then stop it in order and repeat this, or leave it running and --mysql-datadir out", clean(m[1])),
		}
	}
	return &problem{
		fmt.Sprintf("read the copy of %s: %s", clean(d.Path), clean(said)),
		"start " + server + " with it on the old server and leave --mysql-datadir out: a server that runs is asked itself",
	}
}

var (
	versionNumbers = regexp.MustCompile(`^([0-9]+)\.([0-9]+)\.[0-9]+`)
	// redoCreator is how InnoDB names itself in a redo log.
	redoCreator = regexp.MustCompile(`^(MariaDB|MySQL|Backup) ([0-9][0-9A-Za-z.+~-]*)`)
	// InnoDB of another version that must recover (log0recv.cc).
	redoMadeBy = regexp.MustCompile(`Upgrade after a crash is not supported\..*created with ((?:MariaDB|MySQL) [0-9.]*[0-9])`)
)

// upgradedTo reads the file that mariadb-upgrade leaves: the version, with or
// without a line's end, or a NUL.
func upgradedTo(body string) string {
	line, _, _ := strings.Cut(body, "\n")
	return clean(strings.Trim(line, "\x00 \t\r"))
}

// madeBy reads who made a redo log, in the notation of upgradedTo; "" if that
// is nobody we know.
func madeBy(body string) string {
	m := redoCreator.FindStringSubmatch(body)
	switch {
	case m == nil:
		return ""
	case m[1] == "MySQL":
		return m[2]
	}
	return m[2] + "-MariaDB" // as is that of mariabackup, "Backup"
}
