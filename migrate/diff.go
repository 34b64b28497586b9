package migrate

import (
	"strings"
	"time"

	"mailstack/migrate/maildir"
)

// item is a file that has to be, or is, in a tree.
type item struct {
	path string // in the tree
	// from is what it is made from, where that has another path.
	from string
	size int64
	sec  int64
	// nsec counts for files that change. Messages never do.
	nsec    int32
	message bool
}

func (i item) modTime() time.Time { return time.Unix(i.sec, int64(i.nsec)) }

// changes make a tree what it has to be.
type changes struct {
	copies  []item
	renames []renaming
	removes []string
	// kept counts files that need nothing, by directory.
	kept map[string]int
	// lost is how many messages go that are not copied anew under another name.
	lost int
}

type renaming struct{ from, to string }

// compareTrees says how to get from what a tree has to what it has to have. A
// message that only has other flags, or went from new to cur, is renamed instead
// of being copied again.
func compareTrees(want, have []item) changes {
	c := changes{kept: make(map[string]int)}
	mine := make(map[string]item, len(have))
	for _, h := range have {
		mine[h.path] = h
	}
	var missing []item
	for _, w := range want {
		h, found := mine[w.path]
		delete(mine, w.path)
		switch {
		case found && h.size == w.size && h.sec == w.sec && (w.message || h.nsec == w.nsec):
			dir, _ := cutLast(w.path)
			c.kept[dir]++
		case found:
			// Away with it first: it may have another name elsewhere, under which
			// it is to stay as it is.
			c.removes = append(c.removes, w.path)
			c.copies = append(c.copies, w)
		case !w.message:
			c.copies = append(c.copies, w)
		default:
			missing = append(missing, w)
		}
	}
	byID := make(map[string]string) // what is there under another name
	for p, h := range mine {
		if h.message {
			byID[messageID(p)] = p
		}
	}
	wanted := make(map[string]bool, len(missing)) // base names
	for _, w := range missing {
		id := messageID(w.path)
		old, found := byID[id]
		if h := mine[old]; found && h.size == w.size && h.sec == w.sec {
			c.renames = append(c.renames, renaming{old, w.path})
			delete(byID, id)
			delete(mine, old)
			continue
		}
		c.copies = append(c.copies, w)
		wanted[id[strings.LastIndexByte(id, '/')+1:]] = true
	}
	for p, h := range mine {
		c.removes = append(c.removes, p)
		if id := messageID(p); h.message && !wanted[id[strings.LastIndexByte(id, '/')+1:]] {
			c.lost++
		}
	}
	return c
}

// messageID is a message's folder and base name: what it keeps when its flags
// change or somebody sees it.
func messageID(p string) string {
	dir, name := cutLast(p)
	folder, _ := cutLast(dir)
	return folder + "/" + maildir.Message{Name: name}.Base()
}

// cutLast is path.Split without the slash.
func cutLast(p string) (dir, name string) {
	slash := strings.LastIndexByte(p, '/')
	if slash < 0 {
		return "", p
	}
	return p[:slash], p[slash+1:]
}
