package images

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// Certificates are what the services serve, for RenderCertificates.
type Certificates struct {
	// Main has the stack's own certificate, and its twin where there is one:
	// the same names, another kind of key.
	Main []Certificate
	// Extra are served to those who ask for one of their names (SNI).
	Extra []Certificate
}

// Certificate is a private key directly before its chain, in PEM form, and the
// names that it is served for, in lower case; a wildcard is "*.example.net".
type Certificate struct {
	Names []string
	PEM   []byte
}

// String tells the names and never the key.
func (c Certificate) String() string { return fmt.Sprintf("[certificate for %q]", c.Names) }

// GoString is String, so that %#v tells no more.
func (c Certificate) GoString() string { return c.String() }

// mainFile is what the services' configuration names.
const mainFile = "tls/server.pem"

// tlsDir is where a container sees its certificates.
const tlsDir = "/run/mailstack/"

// certificateValues is what the templates in <service>/tls are filled with.
type certificateValues struct {
	Main  string   // path of the main certificate in the container
	Names []string // that it is for
	Twin  string   // path of its twin; empty: none, or in the same file
	Extra []servedFor
}

type servedFor struct {
	File  string // path in the container
	Names []string
}

// RenderCertificates makes the files of a service's directory "tls". They are in
// the order in which they can be put into place one by one: a file that names
// others comes behind them, and these have names of their own for each content.
// The service whose templates do not ask for certificates gets none.
func RenderCertificates(service string, c Certificates) ([]File, error) {
	if err := checkService(service); err != nil {
		return nil, err
	}
	names, _ := fs.Glob(embedded, path.Join(service, "tls", "*")) // the pattern is well-formed
	if len(names) == 0 || len(c.Main) == 0 {
		return nil, nil
	}
	values := certificateValues{Main: tlsDir + mainFile, Names: c.Main[0].Names}
	var files []File
	add := func(kind string, pem []byte) (file string) {
		sum := sha256.Sum256(pem)
		file = "tls/" + kind + "-" + hex.EncodeToString(sum[:8]) + ".pem"
		if !slices.ContainsFunc(files, func(f File) bool { return f.Path == file }) {
			files = append(files, newFile(service, file, pem))
		}
		return tlsDir + file
	}
	main := c.Main[0].PEM
	if len(c.Main) > 1 {
		if service == "postfix" { // one file may hold several chains, see smtpd_tls_chain_files
			main = bytes.Join([][]byte{main, c.Main[1].PEM}, nil)
		} else {
			values.Twin = add("twin", c.Main[1].PEM)
		}
	}
	for _, e := range c.Extra {
		values.Extra = append(values.Extra, servedFor{add("extra", e.PEM), e.Names})
	}
	for _, name := range names {
		data, err := renderFile(name, values)
		if err != nil {
			return nil, fmt.Errorf("render certificates of %s: %w", service, err)
		}
		files = append(files, newFile(service, strings.TrimPrefix(name, service+"/"), data))
	}
	return append(files, newFile(service, mainFile, main)), nil
}

// quoteSNI makes a key of Postfix's tls_server_sni_maps, where an ancestor domain
// with a dot before it stands for the names below it.
func quoteSNI(name string) (string, error) {
	name = strings.TrimPrefix(name, "*")
	if strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-._") != "" {
		return "", fmt.Errorf("%q is not a host name", name)
	}
	return name, nil
}
