package oldhost

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/crypto/ssh"
)

// hostname is what every old host calls itself. No name of example.org is ever
// looked up: ssh is told the address.
const hostname = "old.example.org"

// sshKeys makes a host's keys and its user's, and writes those that the host
// needs below its root directory, those that ssh needs below dir.
func sshKeys(t T, dir, root, user string) SSH {
	t.Helper()
	hostPublic, hostPrivate := sshKey(t)
	userPublic, userPrivate := sshKey(t)
	home := "root"
	if user != "root" {
		home = "home/" + user
	}
	s := SSH{
		Config: filepath.Join(dir, "ssh_config"), Alias: hostname, User: user,
		Key: filepath.Join(dir, "id_ed25519"), KnownHosts: filepath.Join(dir, "known_hosts"),
	}
	rootLogin := "no"
	if user == "root" {
		rootLogin = "prohibit-password"
	}
	writeFile(t, filepath.Join(root, "etc/ssh/ssh_host_ed25519_key"), hostPrivate, 0o600)
	writeFile(t, filepath.Join(root, home, ".ssh/authorized_keys"), userPublic, 0o600)
	writeFile(t, filepath.Join(root, "etc/ssh/sshd_config.d/oldhost.conf"),
		fmt.Appendf(nil, "PermitRootLogin %s\nPasswordAuthentication no\n", rootLogin), 0o644)
	writeFile(t, s.Key, userPrivate, 0o600)
	// The port is known once the host runs; the host's key is kept by its alias.
	writeFile(t, s.KnownHosts, append([]byte(hostname+" "), hostPublic...), 0o644)
	return s
}

// sshKey makes an Ed25519 key pair in OpenSSH's formats.
func sshKey(t T) (public, private []byte) {
	t.Helper()
	publicKey, privateKey, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	line, err := ssh.NewPublicKey(publicKey)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(privateKey, "oldhost")
	if err != nil {
		t.Fatal(err)
	}
	return ssh.MarshalAuthorizedKey(line), pem.EncodeToMemory(block)
}

// listening finishes the configuration with the address of sshd.
func (s *SSH) listening(t T, address string) {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	if err == nil {
		s.Port, err = strconv.Atoi(port)
	}
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, s.Config, fmt.Appendf(nil, `Host %s
	HostName %s
	HostKeyAlias %s
	Port %d
	User %s
	IdentityFile %s
	IdentitiesOnly yes
	UserKnownHostsFile %s
	GlobalKnownHostsFile /dev/null
	StrictHostKeyChecking yes
	BatchMode yes
	ConnectTimeout 20
`, s.Alias, host, hostname, s.Port, s.User, s.Key, s.KnownHosts), 0o600)
}

// Run runs a shell command by ssh, which has to succeed within two minutes, and
// returns its standard output.
func (s SSH) Run(t T, command string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "ssh", "-F", s.Config, s.Alias, command)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if errors.Is(err, exec.ErrNotFound) {
		t.Fatal("ssh is not installed: scripts/prepare test")
	}
	if err != nil {
		t.Fatalf("ssh %s %q: %v: %s", s.Alias, command, err, bytes.TrimSpace(stderr.Bytes()))
	}
	return string(out)
}

func writeFile(t T, path string, data []byte, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, mode); err != nil {
		t.Fatal(err)
	}
}
