package certs

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
)

// Private is a directory for our eyes only, in which a [Source] keeps what is
// its own. Its files change in one step each, also in a power cut, and no link
// in it is followed.
type Private struct{ d *directory }

// OpenPrivate opens a directory that only root and we can write to. Where it is
// not there the error matches [fs.ErrNotExist].
func OpenPrivate(path string) (*Private, error) {
	d, err := openDirectory(path)
	if err != nil {
		return nil, err
	}
	return &Private{d}, nil
}

// MakePrivate is OpenPrivate for a directory that may not be there yet. It
// removes what a killed run left half written.
func MakePrivate(path string) (*Private, error) {
	d, err := makeDirectory(path)
	if err != nil {
		return nil, err
	}
	if err := d.sweep(); err != nil {
		d.close()
		return nil, err
	}
	return &Private{d}, nil
}

// Close gives the directory back.
func (p *Private) Close() { p.d.close() }

// File is the path of a file, there or not.
func (p *Private) File(name string) string { return p.d.file(name) }

// Read returns a file's content. The error matches [fs.ErrNotExist] where there
// is none, and is a [Problem] where somebody else can read or write it.
func (p *Private) Read(name string) ([]byte, error) { return p.d.read(name, true) }

// Write replaces a file, which only we can read, unless it is the same already.
func (p *Private) Write(name string, content []byte) error {
	_, err := p.d.writeOnce(name, content, 0o600)
	return err
}

// ReadSecret reads a file of a person's that nobody but its owner can read.
// The error is a [Problem].
func ReadSecret(path string) ([]byte, error) {
	// The directory may be a link (/etc/mailstack -> /srv/mailstack), the file not.
	dir, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		return nil, secretProblem(path, err)
	}
	d, err := openAnyDirectory(dir)
	if err != nil {
		return nil, secretProblem(path, err)
	}
	defer d.close()
	content, err := d.read(filepath.Base(path), true)
	if err != nil {
		return nil, secretProblem(path, err)
	}
	return content, nil
}

func secretProblem(path string, err error) Problem {
	if errors.Is(err, fs.ErrNotExist) {
		return Problem{path, "does not exist", "Write it, or correct its path in the configuration."}
	}
	p := asProblem(path, err, "chmod 600 "+path+" and make it a plain file of root's.")
	p.File, p.Text = path, strings.Replace(p.Text, "holds a private key and", "holds a secret and", 1)
	return p
}
