// Package e2e tests mailstack as its users use it: the program, a real engine,
// real stacks on loopback in directories of their own, and mail programs that
// know nothing of us. Tests that do not break their stack share one.
//
// One test: go test ./e2e -run 'TestName$' -v. Without an engine, or not as
// root, the suite fails with a sentence; it never skips in silence.
package e2e

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// long is given by `make test-long`.
var long = flag.Bool("long", false, "also run the tests that take minutes")

// What the outer process hands to the inner one.
const (
	runVar    = "MAILSTACK_E2E_RUN" // the run's id, part of every stack's name
	binaryVar = "MAILSTACK_BIN"     // the program; built when not set
)

// TestMain runs the tests in a child process, and removes what they left when
// that is gone. A panic or a timeout in a test ends its process on the spot,
// and stacks would stay behind.
func TestMain(m *testing.M) {
	flag.Parse()
	if os.Getenv(runVar) != "" {
		os.Exit(inner(m))
	}
	code, err := outer()
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	os.Exit(code)
}

func inner(m *testing.M) int {
	if !given("test.parallel") {
		// The tests wait for mail more than they compute.
		if err := flag.Set("test.parallel", "4"); err != nil {
			panic(err)
		}
	}
	code := m.Run()
	if err := downShared(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	return code
}

// given says whether a flag is on the command line.
func given(name string) bool {
	found := false
	flag.Visit(func(f *flag.Flag) { found = found || f.Name == name })
	return found
}

func outer() (int, error) {
	if os.Geteuid() != 0 {
		return 0, errors.New("these tests need root, as mailstack does: they read and write mail stores and sockets of other users")
	}
	if out, err := exec.Command("docker", "version", "--format", "{{.Server.Version}}").CombinedOutput(); err != nil {
		return 0, fmt.Errorf("these tests need a Docker Engine that answers (scripts/prepare test): %v: %s", err, strings.TrimSpace(string(out)))
	}
	run := randomHex(2)
	if binary := os.Getenv(binaryVar); binary == "" {
		dir, err := os.MkdirTemp("", "ms-e2e-bin-")
		if err != nil {
			return 0, err
		}
		defer os.RemoveAll(dir)
		binary = filepath.Join(dir, "mailstack")
		if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", binary, "mailstack/cmd/mailstack").CombinedOutput(); err != nil {
			return 0, fmt.Errorf("build mailstack: %v: %s", err, out)
		}
		os.Setenv(binaryVar, binary)
	}
	child := exec.Command(os.Args[0], os.Args[1:]...)
	child.Env = append(os.Environ(), runVar+"="+run)
	child.Stdin, child.Stdout, child.Stderr = os.Stdin, os.Stdout, os.Stderr
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT)
	if err := child.Start(); err != nil {
		return 0, err
	}
	go func() {
		for s := range signals {
			_ = child.Process.Signal(s)
		}
	}()
	err := child.Wait()
	sweep(namePrefix(run), dirPrefix(run))
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return 0, err
	}
	if code := child.ProcessState.ExitCode(); code >= 0 {
		return code, nil
	}
	return 1, nil
}

// Stacks of a run are called e2e-<run>-<number> and live in /tmp: the paths of
// sockets have to be short.
func namePrefix(run string) string { return "e2e-" + run + "-" }
func dirPrefix(run string) string  { return "/tmp/ms-e2e-" + run + "-" }

// sweep removes containers, networks and directories by the beginning of their
// stack's name. Images stay: they are made of their content and the next run
// needs the same.
func sweep(name, dir string) {
	for _, kind := range []struct{ list, remove []string }{
		{[]string{"ps", "-a", "-q"}, []string{"rm", "-f", "-v"}},
		{[]string{"network", "ls", "-q"}, []string{"network", "rm"}},
	} {
		list := append(kind.list, "--filter", "label=mailstack.stack")
		ids, err := exec.Command("docker", list...).Output()
		if err != nil {
			fmt.Fprintln(os.Stderr, "e2e: docker", strings.Join(list, " "), err)
			continue
		}
		for _, id := range strings.Fields(string(ids)) {
			label, err := exec.Command("docker", "inspect", "--format",
				`{{if .Config}}{{index .Config.Labels "mailstack.stack"}}{{end}}`, id).Output()
			if err != nil { // a network has its labels elsewhere
				label, _ = exec.Command("docker", "network", "inspect", "--format", `{{index .Labels "mailstack.stack"}}`, id).Output()
			}
			stack := strings.TrimSpace(string(label))
			if stack != name && (!strings.HasSuffix(name, "-") || !strings.HasPrefix(stack, name)) {
				continue
			}
			if out, err := exec.Command("docker", append(kind.remove, id)...).CombinedOutput(); err != nil {
				fmt.Fprintf(os.Stderr, "e2e: remove %s: %v: %s\n", id, err, out)
			}
		}
	}
	pattern := dir
	if strings.HasSuffix(dir, "-") {
		pattern += "*"
	}
	dirs, _ := filepath.Glob(pattern)
	for _, d := range dirs {
		if err := os.RemoveAll(d); err != nil {
			fmt.Fprintln(os.Stderr, "e2e:", err)
		}
	}
}

// randomHex is n random bytes in hexadecimal digits.
func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}
