package stack

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// MarkName is the file that makes a directory a volume of a stack. It is
// written last, after everything in the volume is on disk.
const MarkName = ".mailstack-volume"

const markFormat = 1

// Mark is the content of a volume's mark.
type Mark struct {
	StackID string    `json:"stack_id"`
	Volume  string    `json:"volume"`
	Format  int       `json:"format"`
	Created time.Time `json:"created"`
}

// VolumeState is what was found at a volume's path.
type VolumeState struct {
	Name  string
	Path  string
	Mark  *Mark
	Empty bool // nothing there but lost+found and leftovers of our own
	// Renamed says that an initialisation got as far as its content's final
	// name, and only the mark is missing.
	Renamed bool
	Content bool     // data/ (or run/) exists
	Strange []string // some names that are not ours, for the error
	Problem error    // why it could not be looked at
}

// Complete says whether this is the volume of this name of the stack with this
// id, and may be mounted.
func (v VolumeState) Complete(id string) bool {
	return v.Problem == nil && v.belongsTo(id) && v.Mark.Volume == v.Name && v.Content
}

// belongsTo says whether the mark is of the stack with this id. No stack has an
// empty one.
func (v VolumeState) belongsTo(id string) bool {
	return id != "" && v.Mark != nil && v.Mark.StackID == id
}

// observeVolume looks at a volume without changing anything. id is the
// stack's, or the one it is being initialised with.
func observeVolume(l Layout, name, id string) VolumeState {
	v := VolumeState{Name: name, Path: l.Volume(name)}
	entries, err := os.ReadDir(v.Path)
	if errors.Is(err, fs.ErrNotExist) {
		v.Empty = true
		return v
	}
	if err != nil {
		v.Problem = err
		return v
	}
	content := contentName(name)
	v.Empty = true
	for _, e := range entries {
		switch n := e.Name(); {
		case n == MarkName:
			var err error
			v.Mark, err = readMark(filepath.Join(v.Path, n))
			v.Problem = errors.Join(v.Problem, err)
			v.Empty = false
		case n == content:
			v.Content, v.Empty = true, false
			if !e.IsDir() {
				v.Problem = errors.Join(v.Problem, fmt.Errorf("%s is not a directory", filepath.Join(v.Path, n)))
			}
		case n == pendingMark(id) && id != "":
			v.Renamed = true
		case n == "lost+found", isLeftover(n, content, id):
		default:
			v.Empty = false
			if len(v.Strange) < 3 {
				v.Strange = append(v.Strange, n)
			}
		}
	}
	v.Renamed = v.Renamed && v.Content && v.Mark == nil
	return v
}

// migrationDir is where a migration keeps what it copies, beside the content of
// the mail volume (see package migrate).
const migrationDir = "migrate"

// CheckVolume says why a volume of this name is not one of the stack with this
// id, whole and with its mark; nil: it is.
func CheckVolume(l Layout, name, id string) error {
	v := observeVolume(l, name, id)
	switch {
	case v.Complete(id):
		return nil
	case v.Problem != nil:
		return v.Problem
	case v.Mark == nil:
		return fmt.Errorf("%s carries no mark: is its disk mounted?", v.Path)
	}
	return fmt.Errorf("%s is not volume %s of this stack", v.Path, name)
}

// isLeftover says whether a name was made by an interrupted initialisation of
// the stack with this id. Another stack's may be under way.
func isLeftover(name, content, id string) bool {
	return id != "" && (name == content+".tmp-"+id || name == pendingMark(id) ||
		strings.HasPrefix(name, "."+pendingMark(id)+".tmp-")) // as WriteFile names them
}

func pendingMark(id string) string { return MarkName + ".pending-" + id }

func readMark(path string) (*Mark, error) {
	data, _, err := readRegular(path, 4096)
	if err != nil {
		return nil, err
	}
	var m Mark
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("read mark %s: %w", path, err)
	}
	if m.StackID == "" || m.Volume == "" || m.Format < 1 {
		return nil, fmt.Errorf("read mark %s: it is not what mailstack wrote", path)
	}
	if m.Format > markFormat {
		return nil, fmt.Errorf("read mark %s: format %d is newer than this program knows (%d)", path, m.Format, markFormat)
	}
	return &m, nil
}

// volumeInit is one initialisation of a volume, in steps that can each be
// interrupted: content in a temporary directory, a pending mark, the rename,
// the mark. Only a volume with its mark is ever mounted by a service.
type volumeInit struct {
	layout Layout
	name   string
	id     string
	owner  Owner
}

func (i volumeInit) tmp() string {
	return filepath.Join(i.layout.Volume(i.name), contentName(i.name)+".tmp-"+i.id)
}

// begin makes the empty temporary directory, after removing what an earlier,
// interrupted initialisation left.
func (i volumeInit) begin() error {
	if err := makeParents(i.layout.Volume(i.name)); err != nil {
		return err
	}
	if err := i.clean(); err != nil {
		return err
	}
	return makeDir(i.tmp(), i.owner)
}

// clean removes leftovers, which by their names are ours.
func (i volumeInit) clean() error {
	dir := i.layout.Volume(i.name)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if isLeftover(e.Name(), contentName(i.name), i.id) {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// finish gives the content its name and marks the volume.
func (i volumeInit) finish(now time.Time) error {
	if err := syncTree(i.tmp()); err != nil {
		return err
	}
	if err := i.writePending(now); err != nil {
		return err
	}
	if err := os.Rename(i.tmp(), i.layout.Content(i.name)); err != nil {
		return err
	}
	return i.mark()
}

// writePending writes what becomes the mark.
func (i volumeInit) writePending(now time.Time) error {
	mark, err := json.MarshalIndent(Mark{StackID: i.id, Volume: i.name, Format: markFormat, Created: now.UTC()}, "", "  ")
	if err != nil {
		return err
	}
	pending := filepath.Join(i.layout.Volume(i.name), pendingMark(i.id))
	return WriteFile(pending, append(mark, '\n'), Owner{Mode: 0o600})
}

// mark is the last step: the pending mark becomes the mark.
func (i volumeInit) mark() error {
	dir := i.layout.Volume(i.name)
	if err := syncDir(dir); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(dir, pendingMark(i.id)), filepath.Join(dir, MarkName)); err != nil {
		return err
	}
	return syncDir(dir)
}

// syncTree makes every file and directory below dir durable.
func syncTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !d.IsDir() && !d.Type().IsRegular() {
			return nil
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		return f.Sync()
	})
}
