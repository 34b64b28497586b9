package oldhost

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"embed"
	"encoding/pem"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"path/filepath"
	"strings"
	"text/template"
	"time"
)

// templates are the files of the kinds by their paths on the host, those of
// "common" on all; only database.sql is none of a host's files.
//
//go:embed files
var templates embed.FS

// setup is what the templates know.
type setup struct {
	Kind     Kind
	Hostname string
	Layout   Layout
	Location string // Dovecot's mail_location
	Domains  []string
	Accounts []Account
	Aliases  []Alias
}

// location is Dovecot 2.3's mail_location for a layout.
func location(kind Kind, layout Layout) string {
	root := "~" // the home that the database names
	switch {
	case kind == DockerMailserver:
		root = "/var/mail/%d/%n"
	case kind == PostfixAdmin && !layout.Hashed:
		root = "/var/vmail/%d/%n"
	}
	if layout.Subdir != "" {
		root += "/" + layout.Subdir
	}
	l := layout.Format + ":" + root
	if layout.FS {
		l += ":LAYOUT=fs"
	}
	if layout.Apart {
		l += ":INDEX=" + indexRoot + "/%d/%n:CONTROL=" + controlRoot + "/%d/%n"
	}
	return l
}

// Where Layout.Apart keeps things.
const (
	indexRoot   = "/var/lib/dovecot-index"
	controlRoot = "/var/lib/dovecot-control"
)

// render writes the files of a kind: those of the host below dir/root, and
// dir/database.sql if the kind has one.
func (s setup) render(t T, dir string) {
	t.Helper()
	for _, tree := range []string{"common", string(s.Kind)} {
		top := "files/" + tree
		err := fs.WalkDir(templates, top, func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			parsed, err := template.New(filepath.Base(name)).Funcs(functions).ParseFS(templates, name)
			if err != nil {
				return err
			}
			var text bytes.Buffer
			if err := parsed.Execute(&text, s); err != nil {
				return err
			}
			target := filepath.Join(dir, "root", strings.TrimPrefix(name, top))
			if filepath.Base(name) == "database.sql" {
				target = filepath.Join(dir, "database.sql")
			}
			writeFile(t, target, text.Bytes(), 0o644)
			return nil
		})
		if err != nil {
			t.Fatalf("write the files of %s: %v", s.Kind, err)
		}
	}
}

var functions = template.FuncMap{
	"sql": func(s string) string {
		return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`, `"`, `\"`).Replace(s) + "'"
	},
	"join":      strings.Join,
	"local":     func(address string) string { local, _, _ := strings.Cut(address, "@"); return local },
	"domain":    func(address string) string { _, domain, _ := strings.Cut(address, "@"); return domain },
	"column":    func(a Account) string { return strings.TrimPrefix(a.Home, "/var/vmail/") + "/" },
	"mebibytes": func(bytes int64) string { return fmt.Sprintf("%dM", bytes/mib) },
}

// certificate writes a self-signed certificate and its key to where Dovecot and
// Postfix find them, and the certificate to caFile.
func certificate(t T, root, caFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: hostname},
		NotBefore:    now.Add(-time.Hour), NotAfter: now.Add(30 * 24 * time.Hour),
		DNSNames: []string{hostname, "localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true,
	}, &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: hostname}}, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	writeFile(t, filepath.Join(root, "etc/dovecot/private/dovecot.pem"), public, 0o600)
	writeFile(t, filepath.Join(root, "etc/dovecot/private/dovecot.key"),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600)
	writeFile(t, caFile, public, 0o644)
}
