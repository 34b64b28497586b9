package oldhost

import (
	"os"
	"path/filepath"
)

// sieve leaves what ManageSieve would: two scripts, and a link to the active
// one. The script names a folder as users see it here.
func (m *maildir) sieve(home, folder string) {
	m.t.Helper()
	active := "require [\"fileinto\", \"mailbox\"];\n" +
		"# Was mit [Verein] beginnt, gehört ins Archiv.\n" +
		"if header :contains \"subject\" \"[sieve]\" {\n    fileinto :create \"" + folder + "\";\n    stop;\n}\n"
	idle := "require \"vacation\";\nvacation :days 7 \"Bin im Urlaub.\";\n"
	m.file(filepath.Join(home, "sieve/main.sieve"), []byte(active), m.date(0))
	m.file(filepath.Join(home, "sieve/Urlaub im März.sieve"), []byte(idle), m.date(0))
	link := filepath.Join(home, ".dovecot.sieve")
	m.must(os.Symlink("sieve/main.sieve", link))
	m.must(os.Lchown(link, vmail, vmail))
}
