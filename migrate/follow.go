package migrate

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Held are the accounts that wait here because of the old server, by what was
// remembered of this run and of earlier ones.
func (m *Migration) Held() []string { return slices.Clone(m.state.Held[m.From.Target()]) }

// hold remembers those of this run.
func (m *Migration) hold() {
	target := m.From.Target()
	for _, b := range m.boxes {
		if b.domain != "" && !slices.Contains(m.state.Held[target], b.Address) {
			m.state.Held[target] = append(m.state.Held[target], b.Address)
		}
	}
}

// Forget is to be said of an account that waits no longer, as it is gone.
func (m *Migration) Forget(address string) error {
	m.state.forget(m.From.Target(), address)
	return m.state.write(m.work, m.Now())
}

// forget forgets accounts whose move has ended.
func (s *state) forget(target string, addresses ...string) {
	ended := func(a string) bool { return slices.Contains(addresses, a) }
	s.Placed[target] = slices.DeleteFunc(s.Placed[target], ended)
	s.Held[target] = slices.DeleteFunc(s.Held[target], ended)
}

// Aliases are those that were made here because of the old server, with their
// targets.
func (m *Migration) Aliases() map[string][]string {
	made := make(map[string][]string)
	maps.Copy(made, m.state.Aliases[m.From.Target()])
	return made
}

// SetAliases remembers them.
func (m *Migration) SetAliases(made map[string][]string) error {
	m.state.Aliases[m.From.Target()] = made
	return m.state.write(m.work, m.Now())
}

// Remember notes accounts that are about to be opened and whose mail has come from an
// old server by another way than a Migration's. Brought tells of them.
func Remember(to Destination, target string, addresses []string) error {
	if len(addresses) == 0 {
		return nil
	}
	if err := to.Marked(); err != nil {
		return fmt.Errorf("open mail volume %s: %w", to.Volume, err)
	}
	m := &Migration{Options: Options{To: to, Now: time.Now}}
	defer m.Close()
	var err error
	if m.volume, err = openTrusted(to.Volume); err != nil {
		return err
	}
	if err := m.openState(); err != nil {
		return err
	}
	m.state.open(target, addresses)
	return m.state.write(m.work, m.Now())
}

// Tidy ends what a run has left that was killed after it had opened accounts: their
// mail is no copy any more. Where none of the stack's accounts waits, what was copied
// is needed no more, and its room is given back. While a migration runs it does
// nothing. waiting are the accounts that wait, whatever they wait for.
func Tidy(to Destination, waiting []string) (freed bool, err error) {
	volume, err := openTrusted(to.Volume)
	if err != nil {
		return false, err
	}
	defer volume.close()
	work, err := volume.sub(workName)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer work.close()
	if err := unix.Flock(work.fd(), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return false, nil
	}
	if err := to.Marked(); err != nil {
		return false, err
	}
	if err := endPlaced(to, work, waiting); err != nil || len(waiting) > 0 {
		return false, err
	}
	names, err := work.names()
	for _, name := range names {
		if strings.HasPrefix(name, mirrorPrefix) {
			err, freed = errors.Join(err, work.removeAll(name)), true
		}
	}
	return freed, err
}

// endPlaced ends the migration of accounts that do not wait any more.
func endPlaced(to Destination, work *dir, waiting []string) error {
	if _, err := work.stat(stateName); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	s, err := readState(work, time.Now())
	if err != nil {
		return err
	}
	store, err := openTrusted(to.Store)
	if err != nil {
		return err
	}
	defer store.close()
	ended := false
	for target, placed := range s.Placed {
		for _, address := range slices.Clone(placed) {
			if slices.Contains(waiting, address) {
				continue
			}
			if err := release(store, newMailbox(Account{Address: address})); err != nil {
				return err
			}
			s.forget(target, address)
			ended = true
		}
	}
	if !ended {
		return nil
	}
	return s.write(work, time.Now())
}

// release says that the mail of an account is no copy any more, but the mail.
func release(store *dir, m *mailbox) error {
	home, err := store.descend(m.domain + "/" + m.local)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer home.close()
	return home.remove(marker)
}

// mirrorPrefix begins the names of the directories of what was copied.
const mirrorPrefix = "from-"

func mirrorName(target string) string { return mirrorPrefix + url.PathEscape(target) }
