package acme

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path"
	"strings"
	"time"
)

// httpPath is where the authority looks (RFC 8555 section 8.3).
const httpPath = "/.well-known/acme-challenge/"

// listenTimeout bounds a request to our own listeners.
const listenTimeout = 20 * time.Second

// oneBatch is for challenges whose answers do not get into each other's way.
type oneBatch struct{}

func (oneBatch) batches(_ context.Context, answers []answer) ([][]answer, time.Duration) {
	return [][]answer{answers}, 0
}

// httpListener answers http-01 itself, while it is needed.
type httpListener struct {
	oneBatch
	address string
	server  *http.Server
}

func (h *httpListener) present(ctx context.Context, answers []answer) error {
	listener, err := listen(ctx, h.address, "tls.acme_http_address", HTTP01)
	if err != nil {
		return err
	}
	known := map[string]string{}
	for _, a := range answers {
		known[httpPath+a.token] = a.keyAuth
	}
	// An answer proves nothing to anybody but the authority that gave out its
	// token, so it does not matter who asks, nor by which name.
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		keyAuth, ok := known[r.URL.Path]
		if !ok || r.Method != http.MethodGet && r.Method != http.MethodHead {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, keyAuth)
	})
	h.server = &http.Server{Handler: handler, ReadTimeout: listenTimeout, WriteTimeout: listenTimeout, MaxHeaderBytes: 1 << 14}
	h.server.SetKeepAlivesEnabled(false)
	go func() { _ = h.server.Serve(listener) }() // ends with withdraw
	return nil
}

func (h *httpListener) withdraw(context.Context, []answer) error {
	if h.server == nil {
		return nil
	}
	return h.server.Close()
}

// listen opens a port for a challenge.
func listen(ctx context.Context, address, key, challenge string) (net.Listener, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", address)
	if err == nil {
		return listener, nil
	}
	_, port, _ := net.SplitHostPort(address)
	advice := "Correct " + key + "."
	switch {
	case isInUse(err):
		advice = fmt.Sprintf("Another program has the port (ss -ltnp 'sport = :%s' names it). Let it serve tls.acme_webroot, "+
			"or pass the challenge on to another %s, or use tls.acme_challenge = \"dns-01\".", port, key)
	case errors.Is(err, fs.ErrPermission):
		advice = "Run the command as root."
	}
	return nil, &hintedError{fmt.Errorf("listen on %s for %s: %w", address, challenge, plain(err)), advice}
}

// webroot leaves answers where a web server finds them.
type webroot struct {
	oneBatch
	dir string
}

// present writes files. The web server's directory may belong to somebody who
// runs programs there: nothing outside of it is touched, whatever links it holds.
func (w webroot) present(_ context.Context, answers []answer) error {
	root, err := os.OpenRoot(w.dir)
	if err != nil {
		return w.failed(err)
	}
	defer root.Close()
	for _, dir := range []string{".well-known", strings.Trim(httpPath, "/")} {
		err := root.Mkdir(dir, 0o755)
		if err == nil {
			err = root.Chmod(dir, 0o755) // whatever the umask: the web server reads it
		}
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return w.failed(err)
		}
	}
	for _, a := range answers {
		if err := w.write(root, a); err != nil {
			return w.failed(err)
		}
	}
	return nil
}

func (webroot) write(root *os.Root, a answer) error {
	name := strings.TrimPrefix(path.Join(httpPath, a.token), "/")
	if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(a.keyAuth)
	if err == nil {
		err = f.Chmod(0o644)
	}
	return errors.Join(err, f.Close())
}

func (w webroot) failed(err error) error {
	return &hintedError{
		fmt.Errorf("leave the answer to http-01 in %s: %w", w.dir, plain(err)),
		"tls.acme_webroot has to be the directory that a web server on port 80 serves for all names.",
	}
}

func (w webroot) withdraw(_ context.Context, answers []answer) error {
	root, err := os.OpenRoot(w.dir)
	if err != nil {
		return err
	}
	defer root.Close()
	var failed []error
	for _, a := range answers {
		if err := root.Remove(strings.TrimPrefix(path.Join(httpPath, a.token), "/")); err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}
