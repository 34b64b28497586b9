package acme

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mailstack/certs/acme/pebble"
)

// obtainAndEnd makes the test program, started again, obtain one certificate
// with the config and the key in that file.
const obtainAndEnd = "MAILSTACK_TEST_OBTAIN"

// childJob is what the child is told.
type childJob struct {
	Config Config
	Key    []byte // PKCS #8
}

func TestMain(m *testing.M) {
	if url := os.Getenv(dnsProgram); url != "" {
		os.Exit(setRecord(url, os.Args[1:]))
	}
	if file := os.Getenv(obtainAndEnd); file != "" {
		if err := obtainAsChild(file); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func obtainAsChild(file string) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var job childJob
	if err := json.Unmarshal(content, &job); err != nil {
		return err
	}
	key, err := x509.ParsePKCS8PrivateKey(job.Key)
	if err != nil {
		return err
	}
	_, err = New(job.Config).Obtain(context.Background(), example, keys(key.(crypto.Signer)), time.Now())
	return err
}

func keys(key crypto.Signer) []crypto.Signer { return []crypto.Signer{key} }

// TestKilled kills a process that obtains a certificate, at every step: before
// the authority gets a request, and after it has acted on it but before its
// answer arrives. The next run must end right, with one certificate, and with one
// order more only where nobody could know of the first.
func TestKilled(t *testing.T) {
	t.Parallel()
	for _, at := range []string{
		pebble.NewAccount, pebble.NewOrder, pebble.Authz, pebble.Challenge, pebble.Order, pebble.Finalize, pebble.Certificate,
	} {
		for _, late := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s late=%v", strings.Trim(at, "/"), late), func(t *testing.T) {
				t.Parallel()
				killAt(t, at, late)
			})
		}
	}
}

func killAt(t *testing.T, at string, late bool) {
	t.Helper()
	ca := pebble.Start(t, pebble.Options{})
	cfg, key := config(t, ca), newKey(t)
	cfg.Webroot = t.TempDir() // what is left there can be seen
	serveFiles(t, ca, cfg.Webroot)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	told, err := json.Marshal(childJob{cfg, der})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "job.json")
	write(t, file, string(told))
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), obtainAndEnd+"="+file)
	var stderr bytes.Buffer
	child.Stderr = &stderr
	started := make(chan struct{})
	ca.Front.Intercept(func(w http.ResponseWriter, r *http.Request, _ string, forward http.HandlerFunc) {
		if !strings.HasPrefix(r.URL.Path, at) {
			forward(w, r)
			return
		}
		if late {
			forward(httptest.NewRecorder(), r)
		}
		<-started
		_ = child.Process.Kill()
		pebble.HangUp(w)
	})
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	close(started)
	err = child.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != -1 {
		t.Fatalf("the child was not killed: %v %s", err, stderr.String())
	}
	ca.Front.Intercept(nil)

	chain := obtain(t, cfg, example, key)
	verify(t, ca, chain, example)
	if !key.Public().(*ecdsa.PublicKey).Equal(chain[0].PublicKey) {
		t.Error("for another key")
	}
	orders := 1
	if at == pebble.NewOrder && late {
		orders = 2 // its URL was in the lost answer
	}
	if ca.Orders() != orders || ca.Issued() != 1 {
		t.Errorf("%d orders, %d certificates; want %d and 1", ca.Orders(), ca.Issued(), orders)
	}
	if left, _ := os.ReadDir(filepath.Join(cfg.Webroot, httpPath)); len(left) > 0 {
		t.Errorf("left in the web server's directory: %v", left)
	}
	private(t, cfg.Dir)
}
