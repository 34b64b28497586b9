// Package clientconfig makes the documents by which mail programs find their
// settings, and mail servers a domain's policy for TLS (MTA-STS): plain files
// for a web server, made of plain values.
package clientconfig

import (
	"encoding/xml"
	"errors"
	"fmt"
)

// Server is the mail server of a domain.
type Server struct {
	Domain   string // A-labels
	Hostname string // what mail programs connect to
	Stack    string // names the Apple profile
	// Ports by configuration key: imap, imaps, pop3, pop3s, submission,
	// submissions, smtp. 0, or none, is a listener that is off.
	Ports map[string]uint16
	// Known says that every system knows the authority of its certificate.
	Known bool
	// Authority is the PEM of the authority that mail programs have to be told of.
	// Nil: they know it, or nobody here has it.
	Authority []byte
}

// File is a document and where a web server has it: below a directory for each
// host name.
type File struct {
	Host    string // "autoconfig.example.org"
	Path    string // "mail/config-v1.1.xml"
	Content []byte
}

// Kinds are the documents that there are.
var Kinds = []string{"autoconfig", "autodiscover", "mobileconfig", "mta-sts"}

// Make makes one of Kinds.
func Make(kind string, s Server) (File, error) {
	var content []byte
	var err error
	file := File{Host: "autoconfig." + s.Domain}
	switch kind {
	case "autoconfig":
		file.Path = "mail/config-v1.1.xml"
		content, err = autoconfig(s)
	case "autodiscover":
		// The names in capitals that Microsoft's documents have are for servers that
		// tell no difference; clients ask for this one.
		file.Host, file.Path = "autodiscover."+s.Domain, "autodiscover/autodiscover.xml"
		content, err = autodiscover(s)
	case "mobileconfig":
		file.Path = "mail/" + s.Domain + ".mobileconfig"
		content, err = mobileconfig(s)
	case "mta-sts":
		file.Host, file.Path = "mta-sts."+s.Domain, ".well-known/mta-sts.txt"
		content = PolicyFor(s).Text()
	default:
		err = fmt.Errorf("no document is called %q", kind)
	}
	if err != nil {
		return File{}, fmt.Errorf("make %s of %s: %w", kind, s.Domain, err)
	}
	file.Content = content
	return file, nil
}

// port is a listener for mail programs.
type port struct {
	key  string
	kind string // "imap", "pop3", "smtp"
	tls  bool   // from the first byte; else by STARTTLS
}

// incoming and outgoing are the listeners in the order in which mail programs
// should choose (RFC 8314 section 3).
var (
	incoming = []port{{"imaps", "imap", true}, {"imap", "imap", false}, {"pop3s", "pop3", true}, {"pop3", "pop3", false}}
	outgoing = []port{{"submissions", "smtp", true}, {"submission", "smtp", false}}
)

var errNothingOn = errors.New("mail programs need a port to read mail and one to send, and [listen] has them off")

// on are those of the listeners that are not off.
func (s Server) on(all []port) (on []port) {
	for _, p := range all {
		if s.Ports[p.key] != 0 {
			on = append(on, p)
		}
	}
	return on
}

// ports are those that are on; there has to be one of each.
func (s Server) ports() (in, out []port, err error) {
	in, out = s.on(incoming), s.on(outgoing)
	if len(in) == 0 || len(out) == 0 {
		return nil, nil, errNothingOn
	}
	return in, out, nil
}

// encode writes a document in XML.
func encode(v any) ([]byte, error) {
	body, err := xml.MarshalIndent(v, "", "  ")
	if err != nil {
		return nil, err
	}
	return append(append([]byte(xml.Header), body...), '\n'), nil
}
