package accounts

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A socket directory is writable to the server that it belongs to.
func TestOpenFollowsNoLink(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "mysqld.sock")
	if err := os.Symlink("/var/run/other.sock", socket); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), Options{Socket: socket, Password: NewSecret("x")})
	if err == nil || !strings.Contains(err.Error(), "is not a socket") {
		t.Errorf("opening through a link: %v", err)
	}
}

// TestFrozenServer: a server that takes connections and says nothing is told
// from one that is not there.
func TestFrozenServer(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "mysqld.sock")
	l, err := net.Listen("unix", socket) // nobody accepts
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = Open(t.Context(), Options{Socket: socket, Password: NewSecret("x"), reply: 100 * time.Millisecond})
	var down *NotUpError
	if !errors.As(err, &down) || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a frozen server: %v", err)
	}
}
