package accounts

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
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
