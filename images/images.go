// Package images holds what the containers are made of: for each service a
// Dockerfile, the files that go into the image, and the templates of the
// configuration and secrets that a running container reads. All of it is
// embedded in the binary. The package also makes the Debian base image where
// no registry has one.
//
// It talks to no container engine, writes no file and decides nothing about
// what runs. Its inputs are plain values, and the same input always gives the
// same bytes.
//
// # Layout
//
// A service is a directory below images/ with a Dockerfile in it:
//
//	<service>/Dockerfile   classic syntax, begins ARG BASE, FROM ${BASE}
//	<service>/rootfs/…     copied into this image
//	common/rootfs/…        copied into every image
//	<service>/config/*     templates, mounted at /run/mailstack/config
//	<service>/secret/*     templates, mounted at /run/mailstack/secret
//	<service>/tls/*        templates, mounted at /run/mailstack/tls
//
// The build context, as a Dockerfile sees it:
//
//	Dockerfile
//	common/…               the content of common/rootfs
//	rootfs/…               the content of <service>/rootfs
//
// so it says "COPY common/ /", runs mailstack-users, installs packages, runs
// mailstack-finish, and says "COPY rootfs/ /". Files below a directory named
// bin or sbin are 0755 and all others 0644, because embedding keeps no modes.
// Empty directories and links are not kept either.
//
// The templates are no part of the image: a changed port makes a new
// container, not a new image.
package images

import (
	"embed"
	"fmt"
	"io/fs"
	"path"
	"slices"
)

// Whatever service has a directory here is embedded: a new one is not named.
//
//go:embed */Dockerfile all:*/rootfs all:*/config all:*/secret all:*/tls
var embedded embed.FS

const commonDir = "common"

// Services names the services there are images for, sorted.
func Services() []string {
	dockerfiles, _ := fs.Glob(embedded, "*/Dockerfile") // the pattern is well-formed
	names := make([]string, 0, len(dockerfiles))
	for _, f := range dockerfiles {
		names = append(names, path.Dir(f))
	}
	slices.Sort(names)
	return names
}

// checkService keeps a mistyped name from being an empty image.
func checkService(name string) error {
	if all := Services(); !slices.Contains(all, name) {
		return fmt.Errorf("no service is named %q, only %q", name, all)
	}
	return nil
}
