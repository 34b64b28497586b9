package migrate

import (
	"errors"

	"mailstack/migrate/maildir"
)

// Result is what became of a mailbox.
type Result struct {
	Address string `json:"address"`
	// Problem is why it was not copied or not compared; "" where it was.
	Problem string `json:"problem,omitempty"`
	// Differences between both sides; none is as it has to be.
	Differences []maildir.Difference `json:"differences,omitempty"`
	// Changing are differences in folders that changed on the old server while
	// they were copied. The next pass brings them.
	Changing []maildir.Difference `json:"changing,omitempty"`
	// Notes are what was left out, or what is odd, and no fault of copying.
	Notes   []string       `json:"notes,omitempty"`
	Folders []FolderResult `json:"folders,omitempty"`
	// Expected is what the new server has to say of the folders.
	Expected []maildir.Expected `json:"-"`
	// Login is what the new server said otherwise, one line each.
	Login []string `json:"login,omitempty"`
}

// OK says whether everything holds: nothing differs, nothing was left undone.
func (r Result) OK() bool { return r.Problem == "" && len(r.Differences) == 0 && len(r.Login) == 0 }

// FolderResult is a folder on both sides.
type FolderResult struct {
	Name  string `json:"name"` // as users see it
	There Counts `json:"there"`
	Here  Counts `json:"here"`
}

// Counts are what a folder's files say.
type Counts struct {
	Messages    int    `json:"messages"`
	Octets      int64  `json:"octets"`      // of the files
	UIDValidity uint32 `json:"uidvalidity"` // 0: no uidlist that can be read
	UIDNext     uint32 `json:"uidnext"`
}

// Advised is an error with what to do about it, if it says so, for a report of several.
func Advised(err error) string {
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) && hinted.Hint() != "" {
		return err.Error() + "; " + hinted.Hint()
	}
	return err.Error()
}

// result is what is known of a mailbox before it is compared.
func (m *mailbox) result() Result {
	r := Result{Address: m.Address, Notes: m.notes}
	if m.problem != nil {
		r.Problem = Advised(m.problem)
	}
	if m.there != nil {
		for _, line := range m.there.Left {
			r.Notes = append(r.Notes, "not copied: "+line)
		}
		for _, line := range m.there.Broken {
			r.Notes = append(r.Notes, "odd: "+line)
		}
	}
	return r
}

// folderResults puts the folders of both sides beside each other.
func folderResults(there, here maildir.State) []FolderResult {
	var all []FolderResult
	at := make(map[string]int)
	for i := range there.Folders {
		f := &there.Folders[i]
		at[f.Key] = len(all)
		all = append(all, FolderResult{Name: maildir.FolderName(f.Key), There: countsOf(there, f)})
	}
	for i := range here.Folders {
		f := &here.Folders[i]
		k, found := at[f.Key]
		if !found {
			k = len(all)
			all = append(all, FolderResult{Name: maildir.FolderName(f.Key)})
		}
		all[k].Here = countsOf(here, f)
	}
	return all
}

func countsOf(s maildir.State, f *maildir.Folder) Counts {
	var c Counts
	for _, m := range f.Messages {
		c.Messages++
		c.Octets += m.Size
	}
	if list, err := maildir.ParseUIDList(s.Control(f, maildir.UIDListName)); err == nil {
		c.UIDValidity, c.UIDNext = list.Validity, list.Next
	}
	return c
}
