package stack

import (
	"path/filepath"
	"strings"
)

// Layout says where things of a stack are on the host.
type Layout struct {
	Dir   string
	Paths map[string]string // volume name -> its own path, where it has one
}

// SocketVolume is the name of the volume that holds a service's sockets.
func SocketVolume(service string) string { return "socket/" + service }

// Volume is the directory of a volume: its mark, and its content.
func (l Layout) Volume(name string) string {
	if p := l.Paths[name]; p != "" {
		return p
	}
	return filepath.Join(l.Dir, filepath.FromSlash(name))
}

// Content is the directory of a volume that is mounted. It is a subdirectory
// so that a disk that is not mounted means a container that does not start,
// not one that starts empty.
func (l Layout) Content(name string) string {
	return filepath.Join(l.Volume(name), contentName(name))
}

func contentName(volume string) string {
	if strings.HasPrefix(volume, "socket/") {
		return "run"
	}
	return "data"
}

// SigningDir holds the keys that domains sign their mail with.
func (l Layout) SigningDir() string { return filepath.Join(l.Dir, "dkim") }

// runKinds are the directories rendered for a service; and those that tasks
// fill.
func (s Service) runKinds() (rendered, filled []string) {
	filled = []string{"tls"}
	if s.Signs {
		filled = append(filled, "signing")
	}
	return []string{"config", "secret"}, filled
}

// RunDir is a directory rendered for one service: one of its runKinds.
func (l Layout) RunDir(service, kind string) string {
	return filepath.Join(l.Dir, "run", service, kind)
}

// reloadFile is there while a service has yet to read the files that a task
// has changed. Nothing mounts its directory.
func (l Layout) reloadFile(service string) string {
	return filepath.Join(l.Dir, "run", service, "reload-due")
}

// joinedFile says that a service which can be left out has had its volumes:
// from then on one that is missing is lost, not new.
func (l Layout) joinedFile(service string) string {
	return filepath.Join(l.Dir, "run", service, "joined")
}

// Socket is the path on the host of a socket that a service listens on.
func (l Layout) Socket(service, socket string) string {
	return filepath.Join(l.Content(SocketVolume(service)), socket)
}

// CADir holds the certificate authority and the current certificate.
func (l Layout) CADir() string { return filepath.Join(l.Dir, "ca") }

// SecretFile is where a secret is kept.
func (l Layout) SecretFile(name string) string { return filepath.Join(l.Dir, "secrets", name) }

// IDFile says that the stack was initialised, and its id.
func (l Layout) IDFile() string { return filepath.Join(l.Dir, "stack-id") }

func (l Layout) lockFile() string { return filepath.Join(l.Dir, "lock") }

func (l Layout) migrationLock() string { return filepath.Join(l.Dir, "migrate.lock") }

// oldDataDir holds what is read of another host's database; see OldData.
func (l Layout) oldDataDir() string { return filepath.Join(l.Dir, "migrate-mysql") }
