package e2e

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// secretsOf are everything of the stack that nobody but its reader may see, by
// name: the secrets of the services, the CA's key, those that mail is signed with.
func (s *Stack) secretsOf(t *testing.T) map[string]string {
	t.Helper()
	secrets := map[string]string{}
	for _, name := range []string{"admin", "dovecot", "postfix", "probe", "valkey"} {
		secrets[name] = s.secret(t, name)
	}
	for name, file := range map[string]string{"CA key": "ca/ca.key", "TLS key": "ca/server.pem"} {
		data, err := os.ReadFile(filepath.Join(s.data(), file))
		if err != nil {
			t.Fatal(err)
		}
		_, key, _ := strings.Cut(string(data), "PRIVATE KEY-----\n")
		line, _, found := strings.Cut(key, "\n")
		if !found || len(line) < 40 {
			t.Fatalf("%s holds no key", file)
		}
		secrets[name] = line
	}
	for name, key := range s.signingSecrets(t) {
		secrets[name] = key
	}
	return secrets
}

// signingSecrets are the keys that mail of the host's own domain is signed with: the one
// of RSA, which is the same PEM wherever it is, and that of Ed25519 as it is kept and as
// the signer reads it, which is its seed. Of a PEM it is a line from the middle: an RSA
// key begins with what everybody may know.
func (s *Stack) signingSecrets(t *testing.T) map[string]string {
	t.Helper()
	file := filepath.Join(s.layout().SigningDir(), s.hostname()+".json")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	secrets := map[string]string{}
	for _, k := range decode[struct {
		Keys []struct{ Type, Private string }
	}](t, string(data)).Keys {
		lines := strings.Split(strings.TrimSpace(k.Private), "\n")
		if len(lines) < 3 || len(lines[len(lines)/2]) != 64 {
			t.Fatalf("%s: a key of %s with %d lines", file, k.Type, len(lines))
		}
		secrets[k.Type+" key"] = lines[len(lines)/2]
	}
	seeds, err := filepath.Glob(filepath.Join(s.layout().RunDir("filter", "signing"), s.hostname()+".ed-*.key"))
	if err != nil || len(seeds) != 1 || len(secrets) != 2 {
		t.Fatalf("keys that sign mail of %s: %q and %d in %s (%v)", s.hostname(), seeds, len(secrets), file, err)
	}
	seed, err := os.ReadFile(seeds[0])
	if err != nil || len(seed) < 40 {
		t.Fatalf("%s holds %d bytes (%v)", seeds[0], len(seed), err)
	}
	secrets["ed25519 seed"] = strings.TrimSpace(string(seed))
	return secrets
}

// leaks names the secrets that are in a text.
func leaks(secrets map[string]string, text string) (names []string) {
	for name, value := range secrets {
		if strings.Contains(text, value) {
			names = append(names, name)
		}
	}
	return names
}

// Invariant 3: no secret is where anybody but its reader sees it.
func TestSecretsAreNowhereToBeSeen(t *testing.T) {
	t.Parallel()
	s := shared(t)
	address, password := s.account(t)
	secrets := s.secretsOf(t)
	secrets["an account's password"] = password
	seen := map[string]string{}
	for _, service := range services {
		name := s.container(service)
		image := inspect(t, name).Image
		seen["docker inspect "+name] = docker(t, "inspect", name)
		seen["docker inspect of the image of "+service] = docker(t, "image", "inspect", image)
		seen["docker history of "+service] = docker(t, "history", "--no-trunc", image)
		r := tryDocker(t, "logs", name)
		seen["docker logs "+name] = r.stdout + r.stderr
		for _, pid := range s.processes(t, service) {
			for _, file := range []string{"cmdline", "environ"} {
				data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file)) // a process may have gone
				seen[fmt.Sprintf("%s of a process of %s", file, service)] += string(data)
			}
		}
	}
	for _, args := range [][]string{
		{"status"},
		{"status", "--format", "json"},
		{"probe", "-v"},
		{"probe", "--format", "json"},
		{"graph"},
		{"socket", "list", "--format", "json"},
		{"cert", "show", "--format", "json"},
		{"account", "list", "--format", "json"},
		{"account", "show", address, "--format", "json"},
		{"logs"},
		{"systemd"},
	} {
		r := s.run(t, args...)
		seen["mailstack "+strings.Join(args, " ")] = r.stdout + r.stderr
	}
	for _, format := range []string{"text", "json"} {
		r := program(t.Context(), nil, os.Getenv(binaryVar), "plan", "--format", format, "--config", s.otherConfig(t, "limits.message_size = \"40MiB\"\n"))
		seen["mailstack plan --format "+format] = r.stdout + r.stderr
		if !strings.Contains(r.stdout, "message_size_limit") {
			t.Errorf("plan shows no change of the configuration: %v", r)
		}
	}
	seen["up"] = sharedUp.stdout + sharedUp.stderr
	for where, text := range seen {
		t.Run(strings.ReplaceAll(where, s.name, "stack"), func(t *testing.T) {
			if text == "" {
				t.Error("it says nothing: it was not looked at")
			}
			for _, name := range leaks(secrets, text) {
				t.Errorf("it shows %s", name)
			}
			if strings.Contains(text, "$2a$") || strings.Contains(text, "$2b$") || strings.Contains(text, "$argon2") {
				t.Error("it shows a password hash")
			}
		})
	}
}

// otherConfig is a file like the stack's with some more TOML, for commands that
// change nothing.
func (s *Stack) otherConfig(t *testing.T, more string) string {
	t.Helper()
	data, err := os.ReadFile(s.config())
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "mailstack.toml")
	if err := os.WriteFile(file, append(data, more...), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// readers says which file below the data directory holds which secrets, separated by
// commas, and the group that may read it beside root; 0: none.
var readers = map[string]struct {
	secrets string
	gid     uint32
}{
	"secrets/admin":   {"admin", 0},
	"secrets/dovecot": {"dovecot", 0},
	"secrets/postfix": {"postfix", 0},
	"secrets/probe":   {"probe", 0},
	"secrets/valkey":  {"valkey", 0},
	"dkim/*":          {"rsa key,ed25519 key", 0},
	"ca/ca.key":       {"CA key", 0},
	"ca/server.pem":   {"TLS key", 0},

	"run/mysql/secret/admin":     {"admin", 5301},
	"run/dovecot/tls/server.pem": {"TLS key", 0},
	"run/postfix/tls/server.pem": {"TLS key", 0},
	"run/dovecot/secret/*":       {"dovecot", 5303},
	"run/postfix/secret/*":       {"postfix", 5305},
	"run/filter/secret/*":        {"valkey", 5307},
	"run/filter/signing/*":       {"rsa key,ed25519 seed", 5307},
	"run/valkey/secret/*":        {"valkey", 5308},
}

// Every file of the stack is looked into: a secret is only in the files made
// for it, and those can be read by their reader alone.
func TestSecretsAreReadableByTheirReaderOnly(t *testing.T) {
	t.Parallel()
	s := shared(t)
	secrets := s.secretsOf(t)
	found := map[string]bool{}
	err := filepath.WalkDir(s.data(), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			if os.IsNotExist(err) { // mail and sockets come and go
				return nil
			}
			return err
		}
		if !d.Type().IsRegular() {
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return nil //nolint:nilerr // gone since
		}
		name, _ := filepath.Rel(s.data(), path)
		for _, secret := range leaks(secrets, string(data)) {
			found[secret] = true
			s.checkReader(t, name, secret)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range secrets {
		if !found[name] {
			t.Errorf("%s was found nowhere: the search does not work", name)
		}
	}
}

// checkReader checks a file that holds a secret.
func (s *Stack) checkReader(t *testing.T, name, secret string) {
	t.Helper()
	want, ok := readers[name]
	if !ok {
		want, ok = readers[filepath.Dir(name)+"/*"]
	}
	info, err := os.Lstat(filepath.Join(s.data(), name))
	if err != nil {
		t.Fatal(err)
	}
	owner, mode := info.Sys().(*syscall.Stat_t), info.Mode().Perm()
	switch {
	case !ok || !slices.Contains(strings.Split(want.secrets, ","), secret):
		t.Errorf("%s holds %s", name, secret)
	case owner.Uid != 0 || mode&0o027 != 0 || mode&0o040 != 0 && (want.gid == 0 || owner.Gid != want.gid):
		t.Errorf("%s, which holds %s, has mode %04o and owner %d:%d; only root and the group %d may read it", name, secret, mode, owner.Uid, owner.Gid, want.gid)
	}
}

// A container sees its own secrets and no other: nothing in all of its file
// system, looked through with the host's rights.
func TestSecretsOfOthersAreNotInAContainer(t *testing.T) {
	t.Parallel()
	s := shared(t)
	secrets := s.secretsOf(t)
	own := map[string][]string{
		"mysql": {"admin"}, "dovecot": {"dovecot", "TLS key"}, "postfix": {"postfix", "TLS key"},
		"filter": {"valkey", "rsa key", "ed25519 seed"}, "valkey": {"valkey"},
	}
	for _, service := range services {
		root := fmt.Sprintf("/proc/%d/root", inspect(t, s.container(service)).State.Pid)
		for name, value := range secrets {
			args := []string{"-rlF", "--devices=skip", "-e", value}
			for _, dir := range []string{"etc", "home", "media", "mnt", "opt", "root", "run", "socket", "srv", "tmp", "usr/local", "usr/share/mailstack", "var"} {
				if _, err := os.Stat(filepath.Join(root, dir)); err == nil {
					args = append(args, filepath.Join(root, dir))
				}
			}
			t.Run(service+"/"+name, func(t *testing.T) {
				out := program(t.Context(), nil, "grep", args...).stdout
				mine := slices.Contains(own[service], name)
				if (out != "") != mine {
					t.Errorf("it is in %q (its own: %v)", out, mine)
				}
			})
		}
	}
}
