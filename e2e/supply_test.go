package e2e

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// rootOf is the root file system of a service's container, as the host sees it.
func (s *Stack) rootOf(t *testing.T, service string) string {
	t.Helper()
	return filepath.Join("/proc", strconv.Itoa(inspect(t, s.container(service)).State.Pid), "root")
}

// ownParts are the directories of an image: what is mounted below others is not.
var ownParts = []string{"bin", "boot", "etc", "home", "lib", "lib64", "media", "mnt", "opt", "root", "sbin", "srv", "usr", "var"}

// walkImage visits every file of an image, whose root is given.
func walkImage(t *testing.T, root string, visit func(path string, info fs.FileInfo)) {
	t.Helper()
	for _, part := range ownParts {
		top := filepath.Join(root, part)
		if info, err := os.Lstat(top); err != nil || !info.IsDir() {
			continue // absent, or a link into /usr
		}
		err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			name := strings.TrimPrefix(path, root)
			if slices.Contains([]string{"/var/lib/mysql", "/var/vmail", "/var/spool/postfix", "/var/lib/valkey"}, name) {
				return fs.SkipDir // a volume
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			visit(name, info)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// setID lists the files of an image whose setuid or setgid bit is set. Postfix's
// postdrop and postqueue lose theirs too: no privilege can be gained in a container
// with no-new-privileges.
func setID(t *testing.T, root string) string {
	t.Helper()
	var found []string
	walkImage(t, root, func(path string, info fs.FileInfo) {
		if info.Mode().IsRegular() && info.Mode()&(fs.ModeSetuid|fs.ModeSetgid) != 0 {
			found = append(found, path)
		}
	})
	return strings.Join(found, " ")
}

// noService needs any of these programs: they build, fetch, look around or become
// somebody else.
var noService = []string{
	"gcc", "cc", "g++", "c++", "clang", "tcc", "make", "ld", "as", "go", "rustc", "python3", "python", "ruby", "node", "php", "lua5.4-luac", "gdb", "strace",
	"curl", "wget", "nc", "netcat", "ncat", "socat", "telnet", "ssh", "sshd", "scp", "ftp", "rsync", "git", "ip", "tcpdump", "nmap", "iptables", "nft",
	"sudo", "vi", "vim", "nano", "cron", "crond", "systemctl",
}

// noPackage is one that no service needs: parts of names.
var noPackage = []string{
	"gcc", "g++", "binutils", "-dev", "make", "python", "curl", "wget", "openssh", "sudo", "vim", "nano", "systemd-", "cron", "iproute2", "iputils", "netcat", "man-db", "galera", "rsync",
}

// open lists what in an image everybody may write.
func open(t *testing.T, root string) string {
	t.Helper()
	var found []string
	walkImage(t, root, func(path string, info fs.FileInfo) {
		if info.Mode()&fs.ModeSymlink == 0 && info.Mode().Perm()&0o002 != 0 && info.Mode()&fs.ModeSticky == 0 {
			found = append(found, path)
		}
	})
	return strings.Join(found, " ")
}

// needless lists what an image has and no service needs.
func needless(t *testing.T, root string) string {
	t.Helper()
	var found []string
	walkImage(t, root, func(path string, info fs.FileInfo) {
		dir, name := filepath.Split(path)
		switch {
		case strings.HasSuffix(dir, "bin/") && slices.Contains(noService, name):
			found = append(found, path)
		case info.Size() == 0: // a lock
		case strings.HasPrefix(path, "/var/lib/apt/lists/") && info.Mode().IsRegular(),
			strings.HasPrefix(path, "/var/cache/apt/") && info.Mode().IsRegular(),
			strings.HasPrefix(path, "/usr/share/man/") && info.Mode().IsRegular(),
			strings.HasPrefix(path, "/usr/include/") && info.Mode().IsRegular(),
			strings.HasSuffix(path, ".deb"), strings.HasSuffix(path, ".pyc"):
			found = append(found, path)
		}
	})
	for _, line := range packages(t, root) {
		name, _, _ := strings.Cut(line, " ")
		if strings.HasPrefix(name, "gcc-") && strings.HasSuffix(name, "-base") {
			continue // the licence of libgcc
		}
		for _, part := range noPackage {
			if strings.HasPrefix(name, part) || strings.HasPrefix(part, "-") && strings.Contains(name, part) {
				found = append(found, "package "+name)
			}
		}
	}
	return strings.Join(found, " ")
}

// packages are the lines "name version" that an image keeps.
func packages(t *testing.T, root string) []string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, "usr/share/mailstack/packages"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(data)), "\n")
}

// TestImagesHoldWhatIsNeeded: what a service does not need is not in its image.
func TestImagesHoldWhatIsNeeded(t *testing.T) {
	t.Parallel()
	s := shared(t)
	for _, service := range services {
		root := s.rootOf(t, service)
		t.Run(service+"/it is all looked at", func(t *testing.T) {
			visited := 0
			walkImage(t, root, func(string, fs.FileInfo) { visited++ })
			if visited < 1000 {
				t.Errorf("it has %d files", visited)
			}
		})
		t.Run(service+"/no compilers, package lists and the like", func(t *testing.T) {
			if found := needless(t, root); found != "" {
				t.Error(found)
			}
		})
		t.Run(service+"/no setuid or setgid files", func(t *testing.T) {
			if found := setID(t, root); found != "" {
				t.Error(found)
			}
		})
		t.Run(service+"/nothing that others may write", func(t *testing.T) {
			if found := open(t, root); found != "" {
				t.Error(found)
			}
		})
		t.Run(service+"/nobody can log in", func(t *testing.T) {
			passwd, err := os.ReadFile(filepath.Join(root, "etc/passwd"))
			if err != nil {
				t.Fatal(err)
			}
			shadow, err := os.ReadFile(filepath.Join(root, "etc/shadow"))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			for line := range strings.Lines(string(passwd) + string(shadow)) {
				if fields := strings.Split(line, ":"); len(fields) < 7 || !strings.Contains("*!x", fields[1][:min(1, len(fields[1]))]) || fields[1] == "" {
					t.Errorf("a password can be right: %q", line)
				}
			}
		})
	}
}

// TestImagesAreSmall: what they take unpacked, with the base, which is one for all,
// stays below 300 MB for MariaDB, Dovecot and Postfix together, and what the filter
// adds below 220 MB.
func TestImagesAreSmall(t *testing.T) {
	t.Parallel()
	s := shared(t)
	var base, always, filter int
	for _, service := range services {
		sizes := strings.Fields(docker(t, "history", "--human=false", "--format", "{{.Size}}", inspect(t, s.container(service)).Config.Image))
		sum := 0
		for i, size := range sizes {
			n, err := strconv.Atoi(size)
			if err != nil {
				t.Fatal(err)
			}
			if i == len(sizes)-1 { // the lowest layer
				base = max(base, n)
			} else {
				sum += n
			}
		}
		t.Logf("%s: %d bytes above the base", service, sum)
		if slices.Contains(filterServices, service) {
			filter += sum
		} else {
			always += sum
		}
	}
	if base < 50e6 || always < 100e6 || always+base > 300e6 {
		t.Errorf("a base of %d bytes and %d above it", base, always)
	}
	if filter < 50e6 || filter > 220e6 {
		t.Errorf("%d bytes more for the filter", filter)
	}
}

// TestNeedlessIsFound: the searches of TestImagesHoldWhatIsNeeded find what is there.
func TestNeedlessIsFound(t *testing.T) {
	root := t.TempDir()
	for name, mode := range map[string]fs.FileMode{
		"usr/bin/gcc": 0o755, "usr/bin/perl": 0o755, "usr/lib/open": 0o646, "usr/sbin/become": 0o755 | fs.ModeSetuid, "var/mail/join": 0o755 | fs.ModeSetgid,
		"var/lib/apt/lists/packages": 0o644, "usr/share/mailstack/packages": 0o644, "var/vmail/gcc": 0o666,
	} {
		file := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte("python3 3.13\nperl 5.40\n"), 0o600), os.Chmod(file, mode)); err != nil {
			t.Fatal(err)
		}
	}
	for what, got := range map[string][2]string{
		"needless": {needless(t, root), "/usr/bin/gcc /var/lib/apt/lists/packages package python3"},
		"setuid":   {setID(t, root), "/usr/sbin/become /var/mail/join"},
		"open":     {open(t, root), "/usr/lib/open"},
	} {
		if got[0] != got[1] {
			t.Errorf("%s: found %q, want %q", what, got[0], got[1])
		}
	}
}

// TestSBOM: the bill of materials of each image is a CycloneDX document that has
// each package once, and is the same each time.
func TestSBOM(t *testing.T) {
	t.Parallel()
	s := shared(t)
	for _, service := range services {
		t.Run(service, func(t *testing.T) {
			printed := s.mustRun(t, "images", "sbom", service)
			if again := s.mustRun(t, "images", "sbom", service); again != printed {
				t.Error("it is another one the second time")
			}
			var document struct {
				BOMFormat, SpecVersion string
				Version                int
				Metadata               struct{ Component map[string]string }
				Components             []map[string]string
			}
			in := json.NewDecoder(strings.NewReader(printed))
			in.DisallowUnknownFields()
			if err := in.Decode(&document); err != nil {
				t.Fatal(err)
			}
			if document.BOMFormat != "CycloneDX" || document.SpecVersion != "1.5" || document.Version != 1 {
				t.Errorf("it begins with %.200s", printed)
			}
			if c := document.Metadata.Component; c["type"] != "container" || c["name"]+":"+c["version"] != inspect(t, s.container(service)).Config.Image {
				t.Errorf("it is about %v", c)
			}
			var listed []string
			refs := map[string]bool{}
			for _, c := range document.Components {
				if refs[c["bom-ref"]] || c["bom-ref"] == "" || c["name"] == "" || c["version"] == "" {
					t.Errorf("component %v", c)
				}
				refs[c["bom-ref"]] = true
				if c["type"] != "library" {
					continue
				}
				listed = append(listed, c["name"]+" "+c["version"])
				if !strings.HasPrefix(c["purl"], "pkg:deb/debian/"+strings.ReplaceAll(c["name"], "+", "%2B")+"@") {
					t.Errorf("component %v", c)
				}
			}
			slices.Sort(listed)
			packages := packages(t, s.rootOf(t, service))
			slices.Sort(packages)
			if !slices.Equal(listed, packages) {
				t.Errorf("it lists %d packages, the image has %d:\n%v\n%v", len(listed), len(packages), listed, packages)
			}
		})
	}
	s.refuse(t, 2, []string{`no service "web"`}, "images", "sbom", "web")
}
