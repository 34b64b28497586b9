package source

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// redo is the beginning of a redo log: 16 bytes, then who made it.
func redo(creator string) string {
	return strings.Repeat("\x00", 16) + creator + strings.Repeat("\x00", 400)
}

func TestDatadir(t *testing.T) {
	host := newHost(t, nil)
	type files map[string]string
	for _, test := range []struct {
		name    string
		files   files
		version string
		wrong   string
		hint    string
	}{
		{"ours", files{"ibdata1": "", "mariadb_upgrade_info": "11.8.6-MariaDB"}, "11.8.6-MariaDB", "", ""},
		{"older, with a line's end", files{"ibdata1": "", "mysql_upgrade_info": "10.3.39-MariaDB\n"}, "10.3.39-MariaDB", "", ""},
		{
			"both",
			files{"ibdata1": "", "mysql_upgrade_info": "10.3.39-MariaDB", "mariadb_upgrade_info": "10.11.6-MariaDB"},
			"10.11.6-MariaDB", "", "",
		},
		{"MySQL 5.7", files{"ibdata1": "", "mysql_upgrade_info": "5.7.44"}, "5.7.44", "", ""},
		{"by its redo log", files{"ibdata1": "", "ib_logfile0": redo("MariaDB 10.5.23")}, "10.5.23-MariaDB", "", ""},
		{"restored by mariabackup", files{"ibdata1": "", "ib_logfile0": redo("Backup 10.11.6")}, "10.11.6-MariaDB", "", ""},
		{"not said", files{"ibdata1": "", "aria_log_control": "", "ib_logfile0": redo("\x01\x02")}, "MariaDB", "", ""},
		{"nothing said", files{"ibdata1": ""}, "", "", ""},
		{"hostile", files{"ibdata1": "", "mysql_upgrade_info": "\x1b[31m" + strings.Repeat("9", 1000)}, "\uFFFD[31m" + strings.Repeat("9", 95), "", ""},
		{"newer", files{"ibdata1": "", "mariadb_upgrade_info": "12.1.2-MariaDB"}, "12.1.2-MariaDB", "MariaDB 12.1.2, newer than the 11.8", "start MariaDB 12.1"},
		{
			"newer by its redo log",
			files{"ibdata1": "", "mariadb_upgrade_info": "11.8.6-MariaDB", "ib_logfile0": redo("MariaDB 12.1.2")},
			"11.8.6-MariaDB", "newer than the 11.8", "start MariaDB 12.1",
		},
		{
			"MySQL 8",
			files{"ibdata1": "", "mysql.ibd": "", "#innodb_redo/#ib_redo7": redo("MySQL 8.0.36")},
			"8.0.36", "MySQL 8.0.36, which MariaDB cannot open", "start MySQL 8.0",
		},
		{
			"MySQL 9, with spare redo logs",
			files{"ibdata1": "", "mysql.ibd": "", "#innodb_redo/#ib_redo10_tmp": redo(""), "#innodb_redo/#ib_redo5": redo("MySQL 9.7.4")},
			"9.7.4", "MySQL 9.7.4, which MariaDB cannot open", "start MySQL 9.7",
		},
		{"MySQL 8 of no version", files{"ibdata1": "", "mysql.ibd": ""}, "", "MySQL 8 or newer", "start that MySQL"},
		{"MySQL 8 by its version", files{"ibdata1": "", "mysql_upgrade_info": "8.0.36"}, "8.0.36", "MySQL 8.0.36", "start MySQL 8.0"},
		{"something else", files{"README": ""}, "", "no data directory", "/var/lib/mysql"},
	} {
		dir := filepath.Join(t.TempDir(), "it's a dir")
		for name, text := range test.files {
			path := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		got, err := InspectDatadir(t.Context(), host, dir)
		if got.Version != test.version || (err == nil) != (test.wrong == "") || err != nil && !strings.Contains(err.Error(), test.wrong) {
			t.Errorf("%s: %+v, %v; want %q, %q", test.name, got, err, test.version, test.wrong)
		}
		if got.Path != dir || err == nil && got.Bytes == 0 {
			t.Errorf("%s: %+v", test.name, got)
		}
		expectHint(t, test.name, err, test.hint)
	}
}

// TestDatadirSize: what is not copied needs no room here.
func TestDatadirSize(t *testing.T) {
	host := newHost(t, nil)
	dir := t.TempDir()
	for name, size := range map[string]int{"ibdata1": 3 << 20, "mysql-bin.000001": 8 << 20, "binlog.000002": 8 << 20, "mysql-bin.index": 1 << 20} {
		if err := os.WriteFile(filepath.Join(dir, name), bytes.Repeat([]byte("x"), size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if d, err := InspectDatadir(t.Context(), host, dir); err != nil || d.Bytes < 4<<20 || d.Bytes > 5<<20 {
		t.Errorf("%+v, %v; want some 4 MiB", d, err)
	}
}

func TestDatadirElsewhere(t *testing.T) {
	host := newHost(t, nil)
	dir := t.TempDir()
	serve(t, filepath.Join(dir, "ibdata1"))
	for path, want := range map[string][2]string{
		dir:                  {"in use (by mysqld)", "leave --mysql-datadir out"},
		dir + "/none":        {"no such directory", "ibdata1"},
		dir + "/ibdata1":     {"no such directory", "ibdata1"},
		"lib/mysql":          {"not an absolute path", "/var/lib/mysql"},
		"/var/../etc":        {"..", "/var/lib/mysql"},
		"/var/lib/\x1bmysql": {"control characters", "/var/lib/mysql"},
	} {
		_, err := InspectDatadir(t.Context(), host, path)
		if err == nil || !strings.Contains(err.Error(), want[0]) || strings.ContainsAny(err.Error(), "\x1b\n") {
			t.Errorf("%q: %v, want %q", path, err, want[0])
		}
		expectHint(t, path, err, want[1])
	}
}

// serve runs a process named mysqld that has a file open.
func serve(t *testing.T, path string) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(sleep)
	if err != nil {
		t.Fatal(err)
	}
	server := filepath.Join(t.TempDir(), "mysqld")
	if err := os.WriteFile(server, program, 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(server, "1000")
	cmd.Args[0] = "sleep" // where one program is many, it goes by this name
	cmd.ExtraFiles = []*os.File{file}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
}

// What our MariaDB says of a copy that it cannot read is put into words that
// help.
func TestUnread(t *testing.T) {
	d := Datadir{Path: "/var/lib/mysql", Version: "10.5.23-MariaDB"}
	for said, want := range map[string][2]string{
		"InnoDB: Upgrade after a crash is not supported. The redo log was created with MariaDB 10.5.23. You must start up and shut down MariaDB 10.7 or earlier.": {
			"its server was killed, and only MariaDB 10.5.23 can recover it", "then stop it in order",
		},
		"InnoDB: Data file './ibdata1' uses page size 8192": {"page size 8192", "start its own database server (10.5.23-MariaDB)"},
	} {
		err := d.Unread(said)
		if !strings.Contains(err.Error(), want[0]) || !strings.Contains(err.Error(), "/var/lib/mysql") {
			t.Errorf("%q: %v", said, err)
		}
		expectHint(t, said, err, want[1])
	}
}

// expectHint wants advice with every error.
func expectHint(t *testing.T, what string, err error, want string) {
	t.Helper()
	var hinted interface{ Hint() string }
	if err != nil && (!errors.As(err, &hinted) || hinted.Hint() == "" || !strings.Contains(hinted.Hint(), want)) {
		t.Errorf("%s: the hint of %q does not say %q", what, err, want)
	}
}
