package images

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// hostRoot makes a host's root directory with the given files.
func hostRoot(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, data := range files {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

const debian12 = `# comment
Types: deb deb-src
# a comment within a stanza
URIs: http://deb.example.org/debian/
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://deb.example.org/debian-security/
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
`

func TestHostMirror(t *testing.T) {
	for name, c := range map[string]struct {
		files            map[string]string
		mirror, security string // mirror "": *NoMirrorError
	}{
		"none": {},
		"deb822": {
			files:    map[string]string{"etc/apt/sources.list.d/debian.sources": debian12},
			mirror:   "http://deb.example.org/debian",
			security: "http://deb.example.org/debian-security",
		},
		"one-line": {
			files: map[string]string{"etc/apt/sources.list": `
# deb http://old.example.org/debian bookworm main
deb-src http://src.example.org/debian bookworm main
deb cdrom:[Debian 12]/ bookworm main
deb http://sec.example.org/ bookworm-security main
deb [arch=amd64 signed-by=/k.gpg] https://mirror.example.org/pub/linux/ bookworm main contrib # ours
deb http://later.example.org/x bookworm main
`},
			mirror:   "https://mirror.example.org/pub/linux",
			security: "http://sec.example.org",
		},
		"other people's archives": {
			files: map[string]string{
				"etc/apt/sources.list.d/a.list":   "deb [signed-by=/k.gpg] https://php.example.org/php bookworm main\n",
				"etc/apt/sources.list.d/b.list":   "deb https://docker.example.org/linux/debian bookworm stable\n",
				"etc/apt/sources.list.d/c.list":   "deb https://db.example.org/debian bookworm-pgdg main\n",
				"etc/apt/sources.list.d/z.list":   "deb http://local.example.org/debian trixie main\n",
				"etc/apt/sources.list.d/off.save": "deb http://off.example.org/debian trixie main\n",
			},
			mirror: "http://local.example.org/debian",
		},
		"only other people's": {
			files: map[string]string{"etc/apt/sources.list.d/a.list": "deb https://php.example.org/php bookworm main\n"},
		},
		"disabled": {
			files: map[string]string{"etc/apt/sources.list.d/debian.sources": "Enabled: no\n" +
				"Types: deb\nURIs: http://deb.example.org/debian\nSuites: bookworm\nComponents: main\n"},
		},
		"continuation lines": {
			files: map[string]string{"etc/apt/sources.list.d/debian.sources": "Types: deb\nURIs:\n" +
				"\tftp://deb.example.org/debian\n http://second.example.org/debian\nSuites:\n bookworm\nComponents: main\n"},
			mirror: "http://second.example.org/debian",
		},
		"mirror list of a cloud image": {
			files: map[string]string{
				"etc/apt/sources.list.d/debian.sources": "Types: deb\nURIs: mirror+file:///etc/apt/mirrors/debian.list\n" +
					"Suites: bookworm\nComponents: main\n",
				"etc/apt/mirrors/debian.list": "# ours\nhttps://cloud.example.org/debian\tpriority:1\n",
			},
			mirror: "https://cloud.example.org/debian",
		},
		"password": {
			files: map[string]string{"etc/apt/sources.list": "deb https://me:secret@deb.example.org/debian bookworm main\n"},
		},
		"ubuntu": {
			files: map[string]string{
				"etc/apt/sources.list": "deb http://archive.example.org/ubuntu noble main\n" +
					"deb http://security.example.org/ubuntu noble-security main\n",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			root := hostRoot(t, c.files)
			mirror, err := HostMirror(root)
			var none *NoMirrorError
			if c.mirror == "" {
				if !errors.As(err, &none) || none.Hint() == "" {
					t.Errorf("got %q, %v; want a NoMirrorError", mirror, err)
				}
				return
			}
			if err != nil || mirror != c.mirror {
				t.Errorf("mirror %q, %v; want %q", mirror, err, c.mirror)
			}
			if security, err := hostSecurity(root); err != nil || security != c.security {
				t.Errorf("security %q, %v; want %q", security, err, c.security)
			}
		})
	}
}

func TestParseAptOptions(t *testing.T) {
	got := parseAptOptions(`Acquire "";
Acquire::Check-Valid-Until "false";
Acquire::http::Proxy "http://proxy.example.org:3128";
Acquire::http::Proxy::local.example.org "DIRECT";
Acquire::https::Proxy "http://me:secret@proxy.example.org:3128";
Acquire::http::Proxy-Auto-Detect "/usr/bin/detect";
Acquire::Languages:: "none";
Dir::State "var/lib/apt";
`)
	want := []string{
		`Acquire::Check-Valid-Until "false";`,
		`Acquire::http::Proxy "http://proxy.example.org:3128";`,
		`Acquire::http::Proxy::local.example.org "DIRECT";`,
	}
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i].String() != want[i] {
			t.Fatalf("got %v, want %v", got, want)
		}
	}
}
