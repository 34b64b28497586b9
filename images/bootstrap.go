package images

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Suite is the Debian release that the images are made of, whatever the host
// runs.
const Suite = "trixie"

// keyring is what Debian's packages are verified with, below the host's root.
const keyring = "usr/share/keyrings/debian-archive-keyring.gpg"

// BootstrapOptions says what base to make and from where.
type BootstrapOptions struct {
	Mirror   string // URL of a Debian archive; empty: see HostMirror
	Suite    string // empty: Suite
	HostRoot string // whose apt settings and keyring are used; empty: "/"
	TempDir  string // a few hundred MB are needed there; empty: os.TempDir()
}

// MissingPackagesError says that the host lacks programs or keys.
type MissingPackagesError struct {
	What     string   // "no tool to make a Debian base"
	Packages []string // Debian's names
}

func (e *MissingPackagesError) Error() string {
	return e.What + ": " + strings.Join(e.Packages, ", ") + " not installed"
}

// Hint is the command that installs them.
func (e *MissingPackagesError) Hint() string {
	return "apt-get install " + strings.Join(e.Packages, " ")
}

// Bootstrap makes a minimal Debian root file system from packages, with
// mmdebstrap or, where there is only that, with debootstrap, and returns it as
// a tar archive. Documentation, manual pages and translations are left out. Its
// apt is set up for the same mirror, with the security archive where the
// mirror's host serves it. progress gets what the tool prints, line by line,
// also after Bootstrap has returned, until Close has.
//
// The archive is only good if it was read up to io.EOF: a tool that fails makes
// Read return its error, a *CommandError, and Close too. Cancelling ctx stops the
// tool. The error is a *NoMirrorError or *MissingPackagesError where something
// must be provided first.
func Bootstrap(ctx context.Context, opts BootstrapOptions, progress func(line string)) (io.ReadCloser, error) {
	opts.Suite = cmp.Or(opts.Suite, Suite)
	opts.HostRoot = cmp.Or(opts.HostRoot, "/")
	opts.TempDir = cmp.Or(opts.TempDir, os.TempDir())

	tool, err := findTool()
	if err != nil {
		return nil, err
	}
	keys := filepath.Join(opts.HostRoot, keyring)
	if _, err := os.Stat(keys); errors.Is(err, fs.ErrNotExist) {
		return nil, &MissingPackagesError{"no keys to verify Debian's packages with", []string{"debian-archive-keyring"}}
	}
	archives, err := opts.archives()
	if err != nil {
		return nil, fmt.Errorf("make a Debian base: %w", err)
	}
	options, err := hostAptOptions(ctx)
	if err != nil {
		return nil, fmt.Errorf("make a Debian base: %w", err)
	}
	plan := baseSystem{
		suite: opts.Suite, mirror: archives[0].uri, archives: archives,
		options: options, keyring: keys, tempDir: opts.TempDir,
	}
	if filepath.Base(tool) == "debootstrap" {
		return plan.debootstrap(ctx, tool, progress)
	}
	return plan.mmdebstrap(ctx, tool, progress)
}

// findTool prefers mmdebstrap: it needs no root, has no second step and takes
// updates from the security archive at once.
func findTool() (string, error) {
	for _, name := range []string{"mmdebstrap", "debootstrap"} {
		if file, err := exec.LookPath(name); err == nil {
			return file, nil
		}
	}
	return "", &MissingPackagesError{"no tool to make a Debian base", []string{"mmdebstrap"}}
}

// archive is a line of apt's sources.
type archive struct{ uri, suite string }

func (a archive) String() string { return "deb " + a.uri + " " + a.suite + " main" }

// archives are those the base is made from, the main one first. The host's
// security archive belongs to the host's mirror; with a mirror of another
// kind it is used only if both are on one host, else it may be out of reach.
func (opts BootstrapOptions) archives() ([]archive, error) {
	mirror := opts.Mirror
	hosts, err := HostMirror(opts.HostRoot)
	if mirror == "" {
		if err != nil {
			return nil, err
		}
		mirror = hosts
	}
	if mirror, err = cleanMirror(mirror); err != nil {
		return nil, err
	}
	archives := []archive{{mirror, opts.Suite}}
	security, err := hostSecurity(opts.HostRoot)
	if err != nil {
		return nil, err
	}
	if security != "" && (mirror == hosts || sameHost(mirror, security)) {
		archives = append(archives, archive{security, opts.Suite + "-security"})
	}
	return archives, nil
}

func sameHost(a, b string) bool {
	u, errA := url.Parse(a)
	v, errB := url.Parse(b)
	return errA == nil && errB == nil && u.Host == v.Host
}

// unwanted is what nobody reads in a container; licences are kept.
var unwanted = []string{
	"path-exclude=/usr/share/man/*",
	"path-exclude=/usr/share/info/*",
	"path-exclude=/usr/share/doc/*",
	"path-include=/usr/share/doc/*/copyright",
	"path-exclude=/usr/share/locale/*",
}

// baseSystem is all that a tool needs to know.
type baseSystem struct {
	suite    string
	mirror   string // the first archive's
	archives []archive
	options  []aptOption
	keyring  string
	tempDir  string
}

// extra packages: apt needs authorities to talk to an https mirror.
func (b baseSystem) extra() []string {
	for _, a := range b.archives {
		if strings.HasPrefix(a.uri, "https:") {
			return []string{"--include=ca-certificates"}
		}
	}
	return nil
}

func (b baseSystem) mmdebstrap(ctx context.Context, tool string, progress func(string)) (io.ReadCloser, error) {
	args := []string{"--variant=apt", "--format=tar", "--keyring=" + b.keyring}
	args = append(args, b.extra()...)
	for _, u := range unwanted {
		args = append(args, "--dpkgopt="+u)
	}
	for _, o := range b.options {
		args = append(args, "--aptopt="+o.String())
	}
	args = append(args, b.suite, "-")
	for _, a := range b.archives {
		args = append(args, a.String())
	}
	cmd := newCommand(ctx, tool, args, progress)
	cmd.Env = append(os.Environ(), "TMPDIR="+b.tempDir)
	return startArchive(cmd, nil)
}
