package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

// TestProbeListen serves a server that is down, behind basic authentication.
func TestProbeListen(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"web.yml": "basic_auth_users:\n  monitor: " + string(hash) + "\n",
		"targets.toml": "[down]\nhost = \"127.0.0.1\"\nports = [\"smtp=1\"]\n" +
			"[nowhere]\nhost = \"no-such-host.invalid\"\nuser = \"a@b.example\"\npassword_file = \"password\"\n",
		"password": "x\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	r, w := io.Pipe()
	ended := make(chan int, 1)
	go func() {
		args := "probe --listen 127.0.0.1:0 --targets targets.toml --web-config web.yml"
		ended <- run(ctx, strings.Fields(args), nil, io.Discard, w)
		w.Close()
	}()
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatalf("%v, exit code %d", err, <-ended)
	}
	go io.Copy(io.Discard, r)
	_, address, ok := strings.Cut(strings.TrimSpace(line), "metrics of down, nowhere at ")
	if !ok {
		t.Fatalf("said %q", line)
	}
	get := func(path, user string) (int, string) {
		req, err := http.NewRequest(http.MethodGet, "http://"+address+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if user != "" {
			req.SetBasicAuth(user, "secret")
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		return res.StatusCode, string(body)
	}
	if code, _ := get("/metrics", ""); code != http.StatusUnauthorized {
		t.Errorf("without a password: %d", code)
	}
	code, body := get("/probe?target=down", "monitor")
	for _, want := range []string{
		`mailstack_probe_success{stack="down"} 0`, `mailstack_probe_check_success{check="smtp",stack="down"} 0`, `mailstack_probe_check_success{check="dns",stack="down"} 1`,
	} {
		if code != 200 || !strings.Contains(body, want) {
			t.Errorf("%d: no %s in\n%s", code, want, body)
		}
	}
	// A server whose name cannot be found any more takes no mail either: the
	// series must be there to say so.
	code, body = get("/probe?target=nowhere", "monitor")
	for _, want := range []string{
		`mailstack_probe_check_success{check="delivery.submission",stack="nowhere"} 0`, `mailstack_probe_check_success{check="dns",stack="nowhere"} 0`,
		`mailstack_probe_check_status{check="dns",stack="nowhere"} 2`,
	} {
		if code != 200 || !strings.Contains(body, want+"\n") {
			t.Errorf("%d: no %s in\n%s", code, want, body)
		}
	}
	if code, _ := get("/healthz", "monitor"); code != 200 {
		t.Errorf("health: %d", code)
	}
	cancel()
	if code := <-ended; code != 0 {
		t.Errorf("ended with exit code %d", code)
	}
}

func TestTargetsFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "targets.toml")
	bad := "[a]\nuser = \"x\"\nport = 3\nports = [\"imapz\"]\n[b]\nskip = [\"nothing\"]\nwarning = [\"imap=x\"]\n"
	if err := os.WriteFile(path, []byte(bad), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := readTargets(path)
	if err == nil {
		t.Fatal("a bad file is read")
	}
	for _, w := range []string{"unknown key a.port", "a: user and password_file only together", `no listener is called "imapz"`, `b: skip: no check is called "nothing"`, `b: parse range "x"`} {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%v does not say %q", err, w)
		}
	}
}
