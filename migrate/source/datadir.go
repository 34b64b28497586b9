package source

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"strconv"
	"strings"
)

// maxMajor.maxMinor is the newest MariaDB whose data directory the database image can
// open: its own version (images/mysql).
const maxMajor, maxMinor = 11, 8

// Datadir is the data directory of a stopped database server. It is never
// opened where it is: the caller copies it, and a container that is thrown away
// reads the copy (Dumper).
type Datadir struct {
	Version string // that last ran there, "10.11.6-MariaDB"; "" not known
}

var upgradeVersion = regexp.MustCompile(`^([0-9]+)\.([0-9]+)\.[0-9]+[0-9A-Za-z.+~-]*$`)

// InspectDatadir looks at a copy of a data directory and says whether our MariaDB
// can open it. Its errors have a hint.
func InspectDatadir(dir fs.FS) (Datadir, error) {
	var d Datadir
	there := func(name string) bool {
		_, err := fs.Stat(dir, name)
		return err == nil
	}
	switch {
	case !there("ibdata1") && !there("mysql") && !there("mysql.ibd"):
		return d, &problem{
			"this is no data directory of MariaDB or MySQL: it has neither ibdata1 nor mysql/", "it is the one with ibdata1 in it, often /var/lib/mysql",
		}
	case there("mysql.ibd"):
		return d, &problem{
			"this is a data directory of MySQL 8 or newer (mysql.ibd), which MariaDB cannot open",
			"start that server and read it by its own socket (leave --mysql-datadir out)",
		}
	}
	for _, name := range []string{"mariadb_upgrade_info", "mysql_upgrade_info"} {
		version, err := readVersion(dir, name)
		if err != nil {
			return d, err
		}
		if version == "" {
			continue
		}
		d.Version = version
		m := upgradeVersion.FindStringSubmatch(version)
		if m == nil {
			continue
		}
		major, _ := strconv.Atoi(m[1])
		minor, _ := strconv.Atoi(m[2])
		switch {
		case strings.Contains(version, "MariaDB") && (major > maxMajor || major == maxMajor && minor > maxMinor):
			return d, &problem{
				fmt.Sprintf("this is a data directory of MariaDB %s, newer than the %d.%d here", version, maxMajor, maxMinor),
				"start that server and read it by its own socket (leave --mysql-datadir out)",
			}
		case !strings.Contains(version, "MariaDB") && (major > 5 || major == 5 && minor > 7):
			return d, &problem{
				fmt.Sprintf("this is a data directory of MySQL %s, which MariaDB cannot open", version),
				"start that server and read it by its own socket (leave --mysql-datadir out)",
			}
		}
		break
	}
	if d.Version == "" && there("aria_log_control") {
		d.Version = "MariaDB" // of some version
	}
	return d, nil
}

// readVersion reads the file that mariadb-upgrade leaves: the version, with or
// without a line's end, or a NUL.
func readVersion(dir fs.FS, name string) (string, error) {
	f, err := dir.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("look at the data directory: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 100))
	if err != nil {
		return "", fmt.Errorf("look at the data directory: %w", err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return clean(strings.Trim(line, "\x00 \t\r")), nil
}
