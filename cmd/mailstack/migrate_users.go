package main

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"mailstack/accounts"
)

// movingUser is a line of the file for --users.
type movingUser struct {
	login    string // on the old server
	password accounts.Secret
	address  accounts.Address // here
}

// maxUsersFile bounds the file for --users, in octets.
const maxUsersFile = 64 << 20

// readUsers reads a CSV file (RFC 4180) of user name, password and, where the
// user name is no address or another one, the address here; lines that begin
// with # are comments. All that is wrong is reported at once.
func readUsers(path string) ([]movingUser, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("read users: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read users: %w", err)
	}
	switch {
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("read users: %s is not a regular file", path)
	case info.Mode().Perm()&0o077 != 0:
		return nil, hinted(fmt.Errorf("read users: %s holds passwords and can be read by others", path), "chmod 600 "+path)
	case info.Size() > maxUsersFile:
		return nil, fmt.Errorf("read users: %s has %d bytes, which is no list of users", path, info.Size())
	}
	users, err := parseUsers(f)
	if err != nil {
		return nil, fmt.Errorf("read users from %s: %w", path, err)
	}
	return users, nil
}

func parseUsers(r io.Reader) ([]movingUser, error) {
	// Spreadsheets begin a file with a byte order mark.
	text := bufio.NewReader(r)
	if mark, _ := text.Peek(3); string(mark) == "\ufeff" {
		_, _ = text.Discard(len(mark))
	}
	in := csv.NewReader(text)
	in.Comment, in.FieldsPerRecord, in.TrimLeadingSpace = '#', -1, true
	var users []movingUser
	var problems []error
	seen := map[string]int{}
	for {
		record, err := in.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			// What cannot be split has no fields to name: the line holds a password.
			var parse *csv.ParseError
			if errors.As(err, &parse) {
				err = fmt.Errorf("line %d: %w", parse.Line, parse.Err)
			}
			return nil, errors.Join(append(problems, err)...)
		}
		line, _ := in.FieldPos(0)
		u, err := parseUser(record)
		if err != nil {
			problems = append(problems, fmt.Errorf("line %d: %w", line, err))
			continue
		}
		if first := seen[u.address.String()]; first != 0 {
			problems = append(problems, fmt.Errorf("line %d: %s is in line %d already", line, u.address, first))
			continue
		}
		seen[u.address.String()] = line
		users = append(users, u)
	}
	if len(users) == 0 && len(problems) == 0 {
		problems = append(problems, errors.New("there is no user in it"))
	}
	return users, errors.Join(problems...)
}

func parseUser(record []string) (movingUser, error) {
	if len(record) < 2 || len(record) > 3 {
		return movingUser{}, fmt.Errorf("%d fields, want user name, password and perhaps the address here (quote what has a comma)", len(record))
	}
	u := movingUser{login: record[0], password: accounts.NewSecret(record[1])}
	name := u.login
	if len(record) == 3 {
		name = strings.TrimSpace(record[2])
	}
	if u.login == "" || record[1] == "" {
		return u, errors.New("user name or password is empty")
	}
	address, err := accounts.ParseAccount(name)
	if err != nil {
		return u, err
	}
	u.address = address
	return u, nil
}

// oldIMAP is the server that --imap-from names.
type oldIMAP struct {
	host, port string
	startTLS   bool
}

func (o oldIMAP) address() string { return net.JoinHostPort(o.host, o.port) }

// parseIMAP reads imaps://host[:port] or imap://host[:port], the one with TLS
// from the start, the other with STARTTLS.
func parseIMAP(text string) (oldIMAP, error) {
	wrong := func(reason string) (oldIMAP, error) {
		return oldIMAP{}, fmt.Errorf("--imap-from %q: %s; it looks like imaps://old.example.org", text, reason)
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return wrong("not a URL")
	case u.Scheme != "imaps" && u.Scheme != "imap":
		return wrong("neither imaps:// nor imap://")
	case u.Hostname() == "":
		return wrong("no host in it")
	case u.User != nil:
		return wrong("user names are in the file for --users")
	case u.Path != "" && u.Path != "/", u.RawQuery != "", u.Fragment != "":
		return wrong("nothing may follow the host")
	}
	o := oldIMAP{host: u.Hostname(), port: u.Port(), startTLS: u.Scheme == "imap"}
	if o.port == "" {
		o.port = map[bool]string{false: "993", true: "143"}[o.startTLS]
	}
	return o, nil
}
