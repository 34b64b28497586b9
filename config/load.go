package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Where a configuration is looked for.
const (
	LocalPath  = "mailstack.toml"
	SystemPath = "/etc/mailstack/mailstack.toml"
)

// maxFileBytes is far more than any configuration has.
const maxFileBytes = 1 << 20

// Find says which file to load: the explicit one, else ./mailstack.toml, else
// /etc/mailstack/mailstack.toml, else "", the demonstration. An explicit file
// need not exist; Load will say so.
//
// A local file in which no key is switched on, like the reference in a clone
// of the repository, gives way to the system's file. It says nothing that is
// not the default anyway, and somebody who made a stack of his own with
// `mailstack init` and goes on working in the clone means that stack.
func Find(explicit string) (string, error) {
	if explicit != "" {
		return explicit, nil
	}
	return find(LocalPath, SystemPath)
}

func find(local, system string) (string, error) {
	hasLocal, err := exists(local)
	if err != nil {
		return "", err
	}
	hasSystem, err := exists(system)
	switch {
	case err != nil && !hasLocal:
		return "", err
	case hasLocal && hasSystem && !Active(local):
		return system, nil
	case hasLocal:
		return local, nil
	case hasSystem:
		return system, nil
	}
	return "", nil
}

func exists(path string) (bool, error) {
	_, err := os.Stat(path)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	}
	return false, fmt.Errorf("look for configuration: %w", err)
}

// Active says whether the file at path switches any key on. What cannot be read
// counts as active, so that nobody passes over it in silence.
func Active(path string) bool {
	data, err := read(path)
	if err != nil {
		return true
	}
	doc, problem := parseDocument(data)
	return problem != nil || len(doc.values) > 0
}

// Judge looks at the values of a key that only somebody else understands: each
// string of a list. Its error says what is wrong and what is allowed.
type Judge struct {
	Key   string // "probe.warning"
	Check func(value string) error
}

// Load reads a configuration; "" is the demonstration. An error that matches
// *Problems tells everything that is wrong with the file; any other says why it
// could not be read.
func Load(path string, judges ...Judge) (*Config, error) {
	if path == "" {
		c := Default()
		return &c, nil
	}
	data, err := read(path)
	if err != nil {
		return nil, err
	}
	return Parse(path, data, judges...)
}

func read(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	defer file.Close()
	if err := trusted(file); err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	data, err := io.ReadAll(io.LimitReader(file, maxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	if len(data) > maxFileBytes {
		return nil, fmt.Errorf("read configuration: %s is larger than %s", path, formatSize(maxFileBytes))
	}
	return data, nil
}

// trusted refuses a file that anybody may have written: whoever writes it says
// what root does. In a directory where everybody may make files, such as /tmp,
// that is every file that is not root's or our own.
func trusted(file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	const anybody = 0o002
	if info.Mode().Perm()&anybody != 0 {
		return fmt.Errorf("%s can be written by anybody (mode %04o): chmod o-w %[1]s", file.Name(), info.Mode().Perm())
	}
	dir, err := os.Stat(filepath.Dir(file.Name()))
	if err != nil || dir.Mode().Perm()&anybody == 0 {
		return err
	}
	owner := info.Sys().(*syscall.Stat_t).Uid
	if ours := []string{"0", strconv.Itoa(os.Geteuid()), os.Getenv("SUDO_UID")}; !slices.Contains(ours, strconv.Itoa(int(owner))) {
		return fmt.Errorf("%s is not yours, and lies where anybody may make files: move it elsewhere if you trust it", file.Name())
	}
	return nil
}

// Parse is Load for what the file at path holds, or will hold.
func Parse(path string, data []byte, judges ...Judge) (*Config, error) {
	doc, problem := parseDocument(data)
	if problem != nil {
		return nil, &Problems{Path: path, List: []Problem{*problem}}
	}
	r := &reading{doc: doc, config: Default(), judges: judges, bad: map[string]bool{}, relayTables: map[string]string{}}
	r.config.Path = path
	r.readRelayDomains()
	r.unknown()
	r.assign()
	r.agree()
	if len(r.problems.List) > 0 {
		r.problems.Path = path
		r.problems.sort()
		return nil, &r.problems
	}
	return &r.config, nil
}

// reading is one file on its way to a Config.
type reading struct {
	doc      *document
	config   Config
	judges   []Judge
	problems Problems
	bad      map[string]bool // keys whose value was refused: nothing more is said about them

	relayTables map[string]string // of domains, by their names
}

// refuse notes a problem with a key, on the line of the first of the places
// that the file has.
func (r *reading) refuse(key, message string, places ...string) {
	line := 0
	for _, place := range append([]string{key}, places...) {
		if line = r.doc.lines[place]; line > 0 {
			break
		}
	}
	r.bad[key] = true
	r.problems.List = append(r.problems.List, Problem{Line: max(line, 1), Key: key, Message: message})
}

// unknown refuses tables and keys that do not exist.
func (r *reading) unknown() {
	for _, table := range slices.Sorted(maps.Keys(r.doc.tables)) {
		parent := table[:max(strings.LastIndexByte(table, '.'), 0)]
		_, known := tableDocs[table]
		switch {
		case known || r.bad[parent]:
			r.bad[table] = r.bad[parent]
		case settingOf(table) != nil:
			r.refuse(table, "it is written as a table: allowed is "+settingOf(table).name()+" = …")
		case parent != "":
			r.refuse(table, unknownKey(table))
		default:
			r.refuse(table, unknownTable(table))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(r.doc.values)) {
		_, isTable := tableDocs[key]
		switch {
		case settingOf(key) != nil || r.bad[key[:max(strings.LastIndexByte(key, '.'), 0)]]:
		case isTable:
			r.refuse(key, fmt.Sprintf("%s is not a table: allowed are keys below a line [%s]", describe(r.doc.values[key]), key))
		case isTableList(r.doc.values[key]):
			r.refuse(key, unknownTable(key))
		default:
			r.refuse(key, unknownKey(key))
		}
	}
}

// isTableList says whether a value was written as [[tables]].
func isTableList(value any) bool {
	_, is := value.([]map[string]any)
	return is
}

// assign takes over every known value.
func (r *reading) assign() {
	for i := range settings {
		s := &settings[i]
		value, set := r.doc.values[s.key]
		if !set {
			continue
		}
		if err := s.assign(s.field(&r.config), value); err != nil {
			r.refuse(s.key, err.Error())
			continue
		}
		for _, j := range r.judges {
			if list, ok := s.field(&r.config).(*[]string); ok && j.Key == s.key {
				r.judge(j, *list)
			}
		}
	}
}

// judge refuses what a judge refuses.
func (r *reading) judge(j Judge, list []string) {
	for _, text := range list {
		if err := j.Check(text); err != nil {
			r.refuse(j.Key, err.Error())
		}
	}
}
