package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"mailstack/e2e/monitors"
)

// monitored is how long a monitoring system may take to see what has changed:
// it asks every few seconds, and a probe that fails takes up to 20 s.
const monitored = 3 * time.Minute

// monitorImage is made once.
var monitorImage sync.Once

// monitor runs Debian's monitoring programs in a container that ends with the
// test. Its configuration is in files, which it has in /conf; /contrib is what
// we ship.
func monitor(t *testing.T, what string, files map[string]string, o monitors.Options) *monitors.Container {
	t.Helper()
	shared(t) // makes the base image
	monitorImage.Do(func() {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		if _, err := monitors.Image(ctx); err != nil {
			t.Fatal(err)
		}
	})
	dir := t.TempDir()
	for name, content := range files {
		write(t, filepath.Join(dir, name), content, 0o644)
	}
	contrib, err := filepath.Abs("../contrib")
	if err != nil {
		t.Fatal(err)
	}
	o.Name = namePrefix(os.Getenv(runVar)) + what + "-" + randomHex(2)
	o.Mounts = append(o.Mounts, dir+":/conf:ro", contrib+":/contrib:ro")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	c, err := monitors.Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of %s:\n%s", o.Name, c.Log(context.Background()))
		}
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// tools is a container whose programs are run one by one.
func tools(t *testing.T) *monitors.Container {
	t.Helper()
	return monitor(t, "tools", nil, monitors.Options{Command: []string{"sleep", "infinity"}})
}

// runTool runs a program of a container's.
func runTool(t *testing.T, c *monitors.Container, stdin, path string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return runCommand(ctx, c.Command(ctx, path, args...), []byte(stdin))
}

func write(t *testing.T, path, content string, mode os.FileMode) {
	t.Helper()
	err := os.WriteFile(path, []byte(content), mode)
	if err == nil {
		err = os.Chmod(path, mode)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// adapted is a file of contrib/ with some of its words replaced. All of them
// have to be there: what is tested is what we ship.
func adapted(t *testing.T, name string, pairs ...string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("../contrib", name))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(string(data), pairs[i]) {
			t.Fatalf("contrib/%s has no %q", name, pairs[i])
		}
	}
	return strings.NewReplacer(pairs...).Replace(string(data))
}

// exporter is a `mailstack probe --listen` that ends with the test.
type exporter struct {
	address string // 127.0.0.1 and its port
	client  *http.Client
	url     string
	user    string // with its password; "": none is asked for
	pass    string
	files   map[string]string // what Prometheus needs to ask it
}

// exporter starts one with further arguments, and waits until it listens.
func (s *Stack) exporter(t *testing.T, args ...string) *exporter {
	t.Helper()
	said := make(chan string, 1)
	b := s.start(t, func(line string) {
		if _, address, ok := strings.Cut(line, " at 127.0.0.1:"); ok && strings.Contains(line, "serving metrics") {
			said <- "127.0.0.1:" + address
		}
	}, append([]string{"probe", "--timeout", "30s", "--listen", "127.0.0.1:0"}, args...)...)
	select {
	case address := <-said:
		return &exporter{address: address, url: "http://" + address, client: &http.Client{Timeout: time.Minute}}
	case <-b.done:
		t.Fatalf("probe --listen has ended: %s", b.stderr)
	case <-time.After(time.Minute):
		t.Fatalf("probe --listen does not listen after a minute: %s", b.stderr)
	}
	return nil
}

// secureExporter is an exporter with TLS and basic authentication.
func (s *Stack) secureExporter(t *testing.T, args ...string) *exporter {
	t.Helper()
	const name = "exporter.example"
	own := throwaway(t, name)
	key, err := x509.MarshalPKCS8PrivateKey(own.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	password := "pw-" + randomHex(8)
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: own.Certificate[0]})
	write(t, filepath.Join(s.dir, "exporter.pem"), string(certificate), 0o644)
	write(t, filepath.Join(s.dir, "exporter.key"), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})), 0o600)
	write(t, filepath.Join(s.dir, "web.yml"), adapted(t, "prometheus/web.yml",
		"/etc/mailstack/exporter", filepath.Join(s.dir, "exporter"),
		"prometheus: HASH", "prometheus: "+string(hash),
	), 0o600)
	e := s.exporter(t, append(args, "--web-config", filepath.Join(s.dir, "web.yml"))...)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(certificate)
	e.url = "https://" + e.address
	e.user, e.pass = "prometheus", password
	e.files = map[string]string{"exporter.pem": string(certificate), "exporter.password": password}
	e.client.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: name}}
	return e
}

// get asks the exporter for a page.
func (e *exporter) get(t *testing.T, path string, header ...string) (code int, body, contentType string) {
	t.Helper()
	code, body, contentType, err := e.try(t.Context(), path, header...)
	if err != nil {
		t.Fatal(err)
	}
	return code, body, contentType
}

// try is get for where it may fail.
func (e *exporter) try(ctx context.Context, path string, header ...string) (code int, body, contentType string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, e.url+path, nil)
	if err != nil {
		return 0, "", "", err
	}
	if e.user != "" {
		req.SetBasicAuth(e.user, e.pass)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := e.client.Do(req)
	if err != nil {
		return 0, "", "", err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	return res.StatusCode, string(data), res.Header.Get("Content-Type"), err
}

// ask reads JSON over HTTP; an error is what a server that is not up yet says.
func ask(ctx context.Context, client *http.Client, address string, query url.Values, change func(*http.Request), into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address+"?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	if change != nil {
		change(req)
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s", address, res.Status, data)
	}
	return json.Unmarshal(data, into)
}
