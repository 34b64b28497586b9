package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"mailstack/e2e/oldhost"
	"mailstack/migrate/remote"
)

// TestMigrateSSH: the real ssh, its errors, its shared connections, and rsync
// over them.
func TestMigrateSSH(t *testing.T) {
	t.Parallel()
	h := oldHost(t, oldhost.Options{Kind: oldhost.DockerMailserver, Sudo: true})
	dir := t.TempDir()
	other, unknown := filepath.Join(dir, "other"), filepath.Join(dir, "unknown")
	mustTool(t, "", "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", other)
	key, err := os.ReadFile(other + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	words := strings.Fields(string(key))
	changed := filepath.Join(dir, "changed")
	for file, text := range map[string]string{unknown: "", changed: fmt.Sprintf("[127.0.0.1]:%d %s %s\n", h.SSH.Port, words[0], words[1])} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	address := h.SSH.User + "@127.0.0.1"
	for _, test := range []struct {
		name string
		o    remote.Options
		want remote.Reason
	}{
		{"unknown key", remote.Options{Target: address, Port: h.SSH.Port, Identity: h.SSH.Key, ConfigFile: "/dev/null", Extra: []string{"UserKnownHostsFile=" + unknown}}, remote.HostKeyUnknown},
		{"changed key", remote.Options{Target: address, Port: h.SSH.Port, Identity: h.SSH.Key, ConfigFile: "/dev/null", Extra: []string{"UserKnownHostsFile=" + changed}}, remote.HostKeyChanged},
		{"wrong key", remote.Options{Target: h.SSH.Alias, ConfigFile: h.SSH.Config, Extra: []string{"IdentityFile=" + other, "IdentitiesOnly=yes", "IdentityAgent=none", "User=nobody"}}, remote.AuthRefused},
		{"nobody listens", remote.Options{Target: "127.0.0.1", Port: freePort(t), ConfigFile: "/dev/null"}, remote.Unreachable},
		{"no such name", remote.Options{Target: "host.invalid", ConfigFile: "/dev/null"}, remote.Unreachable},
	} {
		_, err := remote.Connect(t.Context(), test.o)
		var failed *remote.ConnectError
		if !errors.As(err, &failed) || failed.Reason != test.want || failed.Hint() == "" || failed.Said == "" {
			t.Errorf("%s: %v, want reason %d", test.name, err, test.want)
		}
	}

	host := reach(t, h.SSH, true)
	if out, err := host.Script(t.Context(), `id -u; printf '%s\n' "$1"`, "it's\na \"word\"").Output(); err != nil || string(out) != "0\nit's\na \"word\"\n" {
		t.Errorf("a script with sudo: %q, %v", out, err)
	}
	if _, err := host.Command(t.Context(), "no-such-program").Output(); !errors.As(err, new(*remote.NotFoundError)) {
		t.Errorf("a program that is not there: %v", err)
	}
	sourceDisconnected(t, h, host)
	sourceRsync(t, host, dir)
	sourceWays(t, h)
}

// sourceWays: what people have in their ssh's configuration, or say on the command
// line, is how the old server is reached.
func sourceWays(t *testing.T, h *oldhost.Host) {
	t.Helper()
	s := shared(t)
	dir := t.TempDir()
	// Sockets have short names.
	agentDir, err := os.MkdirTemp("/tmp", "ms-agent-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(agentDir) })
	agent := filepath.Join(agentDir, "agent")
	running := exec.CommandContext(t.Context(), "ssh-agent", "-D", "-a", agent)
	if err := running.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = running.Process.Kill()
		_ = running.Wait()
	})
	waitUntil(t, 10*time.Second, "ssh-agent takes the key", func() (bool, string) {
		add := exec.CommandContext(t.Context(), "ssh-add", "-q", h.SSH.Key)
		add.Env = append(os.Environ(), "SSH_AUTH_SOCK="+agent)
		out, err := add.CombinedOutput()
		return err == nil, string(out)
	})
	// Behind the host as its own jump host is its sshd's port inside the container.
	const inner = "inner.example.org"
	config, err := os.ReadFile(h.SSH.Config)
	if err != nil {
		t.Fatal(err)
	}
	behind := strings.NewReplacer("Host "+h.SSH.Alias, "Host "+inner, fmt.Sprintf("Port %d", h.SSH.Port), "Port 22\n\tProxyJump "+h.SSH.Alias).Replace(string(config))
	jump := filepath.Join(dir, "jump")
	if err := os.WriteFile(jump, []byte(string(config)+behind), 0o600); err != nil {
		t.Fatal(err)
	}
	known := []string{
		"--ssh-config", "/dev/null", "--ssh-option", "UserKnownHostsFile=" + h.SSH.KnownHosts, "--ssh-option", "HostKeyAlias=" + h.SSH.Alias,
		"--ssh-port", strconv.Itoa(h.SSH.Port),
	}
	address := h.SSH.User + "@127.0.0.1"
	for way, args := range map[string][]string{
		"port and key":  append([]string{"--rsync-from", address, "--ssh-key", h.SSH.Key, "--ssh-option", "IdentitiesOnly=yes"}, known...),
		"agent":         append([]string{"--rsync-from", address, "--ssh-option", "IdentityAgent=" + agent}, known...),
		"a jump host":   {"--rsync-from", inner, "--ssh-config", jump},
		"configuration": {"--rsync-from", h.SSH.Alias, "--ssh-config", h.SSH.Config},
	} {
		out := s.mustRun(t, append([]string{"migrate", "--dry-run", "--sudo"}, args...)...)
		for _, a := range h.Accounts {
			if !strings.Contains(out, a.Address) {
				t.Errorf("by %s: no %s in\n%s", way, a.Address, out)
			}
		}
	}
	// Or the agent proves nothing.
	if r := s.run(t, append([]string{"migrate", "--dry-run", "--sudo", "--rsync-from", address, "--ssh-option", "IdentityAgent=none"}, known...)...); r.code == 0 {
		t.Errorf("without the agent: %v", r)
	}
}

// sourceDisconnected: a connection that breaks is told from a program that
// fails, and the next command makes a new one.
func sourceDisconnected(t *testing.T, h *oldhost.Host, host *remote.Host) {
	t.Helper()
	stream, err := host.Script(t.Context(), "echo ready; sleep 600").Stream()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Read(make([]byte, 64)); err != nil {
		t.Fatal(err)
	}
	h.Exec(t, "pkill", "-KILL", "-f", "sshd: "+h.SSH.User)
	_, err = io.ReadAll(stream)
	var lost *remote.ConnectError
	if !errors.As(err, &lost) || lost.Reason != remote.Lost {
		t.Errorf("read from a broken connection: %v", err)
	}
	if out, err := host.Command(t.Context(), "echo", "again").Output(); err != nil || string(out) != "again\n" {
		t.Errorf("the next command: %q, %v", out, err)
	}
}

// sourceRsync: rsync comes by the same way, as root, with any name.
func sourceRsync(t *testing.T, host *remote.Host, dir string) {
	t.Helper()
	const there = "/root/it's a \"dir\""
	if _, err := host.Script(t.Context(), `mkdir "$1" && echo text >"$1/file" && chmod 600 "$1/file"`, there).Output(); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"--archive", "--protect-args"}, host.RsyncShell(1)...)
	args = append(args, host.RsyncPath(there+"/"), filepath.Join(dir, "copy"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if out, err := exec.CommandContext(ctx, "rsync", args...).CombinedOutput(); err != nil {
		t.Fatalf("rsync: %v\n%s", err, out)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "copy", "file")); err != nil || string(text) != "text\n" {
		t.Errorf("copied: %q, %v", text, err)
	}
}
