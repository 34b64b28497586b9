package dkim

import (
	"fmt"
	"strings"
)

// SealFile is the name of the part of Rspamd's arc section (https://rspamd.com/doc/modules/arc.html)
// that says with which key a domain seals what it forwards.
const SealFile = "seals.conf"

// sealFile names one key of each domain: a seal has one signature, and is made with
// RSA, which all that check know.
func sealFile(domains []Domain, dir string) File {
	var b strings.Builder
	b.WriteString("domain {\n")
	for _, d := range domains {
		for _, k := range d.Keys {
			if k.State == Active && k.Type == "rsa" {
				fmt.Fprintf(&b, "  %q { selector = %q; path = %q; }\n", d.Name, k.Selector, dir+"/"+keyFile(d, k))
				break
			}
		}
	}
	b.WriteString("}\n")
	return File{SealFile, []byte(b.String())}
}
