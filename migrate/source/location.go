package source

import (
	"errors"
	"fmt"
	"path"
	"strings"
)

// Location is where and how Dovecot stores mail: mail_location of 2.3, or what
// 2.4 has in several settings. Its paths may hold variables and begin with ~/.
type Location struct {
	Driver         string // "maildir", "mdbox", …; "" when Dovecot guesses
	Path           string
	Layout         string // "maildir++", "fs", "index"
	Control, Index string // "": in Path
	// Odd are what makes a Maildir other than others are: nothing of it is carried
	// over ("INBOX=/var/mail/%u").
	Odd []string
}

// parseLocation reads mail_location as Dovecot 2.3 has it: DRIVER:PATH and then
// KEY=VALUE, with colons between, where "::" is one colon of a path
// (https://doc.dovecot.org/2.3/configuration_manual/mail_location/). DRIVER may
// be left out.
func parseLocation(text string) Location {
	var l Location
	fields := splitColons(strings.TrimSpace(text))
	if len(fields) > 0 && fields[0] != "" && !strings.ContainsAny(fields[0], "/~%") {
		l.Driver = strings.ToLower(fields[0])
		fields = fields[1:]
	}
	if len(fields) > 0 {
		l.Path = fields[0]
		fields = fields[1:]
	}
	for _, field := range fields {
		key, value, _ := strings.Cut(field, "=")
		switch strings.ToUpper(key) {
		case "LAYOUT":
			l.Layout = strings.ToLower(value)
		case "CONTROL":
			l.Control = value
		case "INDEX":
			l.Index = value
		case "INDEXPVT", "INDEXCACHE", "LISTINDEX", "VOLATILEDIR", "ITERINDEX", "NO-NOSELECT", "":
			// Where caches are, and how they are looked at.
		default: // INBOX, DIRNAME, MAILBOXDIR, SUBSCRIPTIONS, UTF-8, ALT, …
			l.Odd = append(l.Odd, clean(field))
		}
	}
	return l.complete()
}

// complete puts in what a Maildir has by default.
func (l Location) complete() Location {
	if l.Driver == "maildir" && l.Layout == "" {
		l.Layout = "maildir++"
	}
	for _, p := range []*string{&l.Control, &l.Index} {
		if strings.EqualFold(*p, "MEMORY") || *p == l.Path {
			*p = ""
		}
	}
	return l
}

func splitColons(text string) (fields []string) {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == ':' && i+1 < len(text) && text[i+1] == ':' {
			b.WriteByte(':')
			i++
			continue
		}
		if text[i] == ':' {
			fields = append(fields, b.String())
			b.Reset()
			continue
		}
		b.WriteByte(text[i])
	}
	return append(fields, b.String())
}

// locationOf24 reads the settings that Dovecot 2.4 has in place of
// mail_location (https://doc.dovecot.org/2.4.1/core/config/mail_location.html).
func locationOf24(s *section) Location {
	l := Location{
		Driver:  strings.ToLower(s.get("mail_driver")),
		Path:    s.get("mail_path"),
		Layout:  strings.ToLower(s.get("mailbox_list_layout")),
		Control: s.get("mail_control_path"),
		Index:   s.get("mail_index_path"),
	}
	for _, key := range []string{
		"mail_inbox_path", "mail_alt_path", "mailbox_directory_name", "mailbox_root_directory_name", "mailbox_list_utf8",
	} {
		if value := s.get(key); value != "" && value != "no" {
			l.Odd = append(l.Odd, clean(key+" = "+value))
		}
	}
	if name := s.get("mailbox_subscriptions_filename"); name != "" && name != "subscriptions" {
		l.Odd = append(l.Odd, clean("mailbox_subscriptions_filename = "+name))
	}
	return l.complete()
}

// user is what variables stand for.
type user struct {
	name string // as Dovecot knows it, "alice@example.org"
	home string // "": not known
}

func (u user) local() string  { local, _, _ := strings.Cut(u.name, "@"); return local }
func (u user) domain() string { _, domain, _ := strings.Cut(u.name, "@"); return domain }

// resolve makes a path of what a setting says: variables are filled in, ~/ is
// the home. "" stays "".
func (u user) resolve(setting string) (string, error) {
	if setting == "" {
		return "", nil
	}
	p, err := u.expand(setting)
	if err != nil {
		return "", err
	}
	if p == "~" || strings.HasPrefix(p, "~/") {
		if u.home == "" {
			return "", fmt.Errorf("%s: the home of %s is not known", clean(setting), u.name)
		}
		p = u.home + p[1:]
	}
	return checkPath(p)
}

// checkPath refuses paths that nobody has who means well, and puts the others
// into their shortest form.
func checkPath(p string) (string, error) {
	switch {
	case !strings.HasPrefix(p, "/"):
		return "", fmt.Errorf("%q is not an absolute path", clean(p))
	case len(p) > 4000: // PATH_MAX is 4096
		return "", fmt.Errorf("%q is too long for a path", clean(p))
	case strings.ContainsFunc(p, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return "", fmt.Errorf("%q: a path with control characters is refused", clean(p))
	}
	for _, name := range strings.Split(p, "/") {
		if name == ".." {
			return "", fmt.Errorf("%q: a path with .. is refused", clean(p))
		}
	}
	if p = path.Clean(p); p == "/" {
		return "", errors.New("the root directory is no place for mail")
	}
	return p, nil
}
