package migrate

import (
	"errors"
	"io"
	"io/fs"
	"path"

	"mailstack/migrate/maildir"

	"golang.org/x/sys/unix"
)

// maxDepth is how deep a walk goes, as in maildir.List.
const maxDepth = 40

// walk lists what is below a directory of this machine. A directory that into
// says no to is listed and not entered; its path is below d.
func (d *dir) walk(into func(p string) bool) ([]maildir.Entry, error) {
	var all []maildir.Entry
	err := d.walkBelow("", 1, into, &all)
	return all, err
}

func (d *dir) walkBelow(below string, depth int, into func(string) bool, all *[]maildir.Entry) error {
	names, err := d.names()
	if err != nil {
		return err
	}
	for _, name := range names {
		st, err := d.stat(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // gone meanwhile
		}
		if err != nil {
			return err
		}
		e := maildir.Entry{
			Path: path.Join(below, name), Type: typeOf(st.Mode), Size: st.Size,
			Sec: st.Mtim.Sec, Nsec: int32(st.Mtim.Nsec), Mode: st.Mode &^ unix.S_IFMT,
		}
		*all = append(*all, e)
		if e.Type != 'd' || depth >= maxDepth || !into(e.Path) {
			continue
		}
		sub, err := d.sub(name)
		if err != nil {
			return err
		}
		err = sub.walkBelow(e.Path, depth+1, into, all)
		sub.close()
		if err != nil {
			return err
		}
	}
	return nil
}

func typeOf(mode uint32) byte {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return 'f'
	case unix.S_IFDIR:
		return 'd'
	case unix.S_IFLNK:
		return 'l'
	}
	return 'o'
}

func everywhere(string) bool { return true }

// entries returns them one by one, as maildir.ReadTree wants them.
func entries(all []maildir.Entry) func() (maildir.Entry, error) {
	i := 0
	return func() (maildir.Entry, error) {
		if i == len(all) {
			return maildir.Entry{}, io.EOF
		}
		i++
		return all[i-1], nil
	}
}
