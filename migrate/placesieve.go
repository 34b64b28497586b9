package migrate

import (
	"errors"
	"io/fs"
	"strings"
)

// maxScript is how large a Sieve script may be, in octets; Pigeonhole takes 1 MiB.
const maxScript = 16 << 20

// translated is a script as it has to be here. One that cannot be read stays as it
// is: it did not work there either.
func (m *mailbox) translated(script string) string {
	out, _ := translateScript(script, m.Store.Prefix, m.Store.Separator)
	return out
}

// placeScripts puts the Sieve scripts into the home: their files into sieve, and
// a link to the active one.
func (p *placer) placeScripts(home *dir, m *mailbox) error {
	if m.Store.Sieve == "" && m.Store.Scripts == "" {
		return nil
	}
	if len(m.sieve.files) == 0 {
		return errors.Join(home.removeAll(scriptsName), home.remove(activeScript))
	}
	scripts, err := home.ensure(scriptsName, p.owner)
	if err != nil {
		return err
	}
	defer scripts.close()
	want := make(map[string]bool)
	for _, s := range m.sieve.files {
		want[s.name] = true
		data, err := p.mirror.read(inMirror(s.path), maxScript)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it was gone before it could be copied
		}
		if err == nil {
			err = scripts.write(s.name, strings.NewReader(m.translated(string(data))), p.owner, s.time)
		}
		if err != nil {
			return err
		}
	}
	names, err := scripts.names()
	if err != nil {
		return err
	}
	for _, name := range names {
		if !want[name] {
			if err := scripts.removeAll(name); err != nil {
				return err
			}
		}
	}
	if m.sieve.active == "" {
		return home.remove(activeScript)
	}
	return home.symlink(scriptsName+"/"+m.sieve.active, activeScript, p.owner)
}

// scriptsHere is what is in the home of the scripts.
func scriptsHere(home *dir) (names []string, active string, err error) {
	d, err := home.sub(scriptsName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", err
	}
	defer d.close()
	all, err := d.names()
	for _, name := range all {
		if strings.HasSuffix(name, ".sieve") {
			names = append(names, name)
		}
	}
	target, linkErr := home.readlink(activeScript)
	if linkErr == nil {
		active = strings.TrimPrefix(target, scriptsName+"/")
	}
	return names, active, err
}
