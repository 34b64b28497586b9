package dkim

import (
	"fmt"
	"strings"
)

// File is a file that the signer reads, in one directory with the others.
type File struct {
	Name string
	Data []byte
}

// String tells the name and never a key.
func (f File) String() string { return f.Name }

// Format implements fmt.Formatter: no verb tells more.
func (f File) Format(s fmt.State, _ rune) { fmt.Fprint(s, f.Name) }

// SignerFile is the name of the file that names the others.
const SignerFile = "domains.conf"

// SignerFiles are the active keys of the domains, and the part of Rspamd's
// dkim_signing section that says which domain signs with which
// (https://rspamd.com/doc/modules/dkim_signing.html). dir is where the signer
// finds them. The files that name others are the last: put into place one by one
// they are whole at each moment, as a selector never changes its key.
func SignerFiles(domains []Domain, dir string) []File {
	var files []File
	var b strings.Builder
	b.WriteString("domain {\n")
	for _, d := range domains {
		fmt.Fprintf(&b, "  %q {\n    selectors [\n", d.Name)
		for _, k := range d.Keys {
			if k.State != Active {
				continue
			}
			name := keyFile(d, k)
			files = append(files, File{name, k.ForRspamd()})
			fmt.Fprintf(&b, "      { selector = %q; path = %q; },\n", k.Selector, dir+"/"+name)
		}
		b.WriteString("    ]\n  }\n")
	}
	b.WriteString("}\n")
	return append(files, File{SignerFile, []byte(b.String())}, sealFile(domains, dir))
}

// keyFile is the name of the file of a key.
func keyFile(d Domain, k Key) string { return d.Name + "." + k.Selector + ".key" }
