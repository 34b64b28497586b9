package docker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"regexp"
	"strings"
	"syscall"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"mailstack/stack"
)

// ConnectError says why the engine could not be reached, or went away.
type ConnectError struct {
	Host string // as it was tried, "unix:///var/run/docker.sock"
	Err  error
	hint string
}

func (e *ConnectError) Error() string {
	return fmt.Sprintf("connect to the container engine at %s: %s", e.Host, reason(e.Err))
}

func (e *ConnectError) Unwrap() error { return e.Err }

// Hint says what to do about it.
func (e *ConnectError) Hint() string { return e.hint }

const (
	hintStart       = "start Docker: systemctl start docker (or: service docker start); if it is not installed: apt-get install docker.io"
	hintRights      = "run this as root, or as a member of the group docker (which has the same rights)"
	hintStuck       = "Docker runs but does not answer: see its log (journalctl -u docker), or restart it"
	hintOld         = "Docker Engine 20.10 or newer is needed"
	hintUnsetHost   = "only the engine of this host can be used: unset DOCKER_HOST"
	hintEnvironment = "correct or unset DOCKER_HOST, DOCKER_CERT_PATH and DOCKER_API_VERSION"
)

var (
	errScheme    = errors.New("this kind of address is not supported")
	errNoSocket  = errors.New("there is no such socket: Docker is not running or not installed")
	errRefused   = errors.New("nobody listens on this socket: Docker is not running")
	errNoRights  = fs.ErrPermission // "permission denied"
	errNameInUse = errors.New("the name is in use")
	errSilent    = fmt.Errorf("no answer within %s", connectTimeout)
)

// hostOf is the address that Connect will use.
func hostOf(opts Options) string {
	if opts.Host != "" {
		return opts.Host
	}
	if host := os.Getenv(client.EnvOverrideHost); host != "" {
		return host
	}
	return client.DefaultDockerHost
}

// diagnose finds out why the engine at host did not answer. The client's errors
// tell the causes apart by their text only, so the socket is dialled once more,
// for its error number.
func diagnose(ctx context.Context, host string, err error) *ConnectError {
	path, local := strings.CutPrefix(host, "unix://")
	if !local {
		return &ConnectError{Host: host, Err: err, hint: hintUnsetHost}
	}
	dialer := net.Dialer{Timeout: connectTimeout}
	conn, dialErr := dialer.DialContext(ctx, "unix", path)
	if dialErr == nil {
		_ = conn.Close()
	}
	switch {
	case errors.Is(dialErr, os.ErrNotExist):
		return &ConnectError{Host: host, Err: errNoSocket, hint: hintStart}
	case errors.Is(dialErr, syscall.ECONNREFUSED):
		return &ConnectError{Host: host, Err: errRefused, hint: hintStart}
	case errors.Is(dialErr, os.ErrPermission):
		return &ConnectError{Host: host, Err: errNoRights, hint: hintRights}
	case dialErr != nil:
		return &ConnectError{Host: host, Err: dialErr, hint: hintStart}
	case errors.Is(err, context.DeadlineExceeded):
		return &ConnectError{Host: host, Err: errSilent, hint: hintStuck}
	case errdefs.IsInvalidArgument(err): // the client refuses the engine's version
		return &ConnectError{Host: host, Err: err, hint: hintOld}
	default:
		return &ConnectError{Host: host, Err: err, hint: hintStuck}
	}
}

// opError is a failed operation in the words of package stack.
type opError struct {
	doing string
	err   error
	kind  error // stack.ErrNotFound, stack.ErrConflict or nil
}

func (e *opError) Error() string { return e.doing + ": " + reason(e.err) }

func (e *opError) Unwrap() []error {
	if e.kind == nil {
		return []error{e.err}
	}
	return []error{e.err, e.kind}
}

// wrap says what was being done, and translates the kind of the error. Kinds
// come from the status of the engine's answer, never from its text.
func wrap(doing string, err error) error {
	wrapped := &opError{doing: doing, err: err}
	switch {
	case errdefs.IsNotFound(err):
		wrapped.kind = stack.ErrNotFound
	case errdefs.IsConflict(err):
		wrapped.kind = stack.ErrConflict
	}
	return wrapped
}

// fail is wrap for an error of a request: an engine that went away in the
// middle of a run is a *ConnectError as it is at its beginning.
func (e *Engine) fail(doing string, err error) error {
	if client.IsErrConnectionFailed(err) {
		err = &ConnectError{Host: e.client.DaemonHost(), Err: err, hint: hintStart}
	}
	return wrap(doing, err)
}

// reason is the error's text without what the client and net/http put before
// it: the request's URL and "Error response from daemon".
func reason(err error) string {
	var request *url.Error
	if errors.As(err, &request) && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		err = request.Err
	}
	return withoutID(strings.TrimPrefix(err.Error(), "Error response from daemon: "))
}

// engineID is the engine's own number of a container or of its end of a network.
var engineID = regexp.MustCompile(` \(?[0-9a-f]{64}\b\)?`)

// withoutID takes the engine's numbers out of its words: they name nothing that
// people know, and are longer than the rest.
func withoutID(text string) string { return engineID.ReplaceAllString(text, "") }
