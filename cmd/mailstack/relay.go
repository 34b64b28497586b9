package main

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"mailstack/config"
	"mailstack/images"
	"mailstack/stack"
)

// relays are the smarthosts, with the passwords in the files that the
// configuration names; that of all mail first.
func relays(cfg *config.Config) ([]stack.Relay, error) {
	ways := map[string]config.Relay{"": cfg.Relay}
	maps.Copy(ways, cfg.Relay.Domains)
	var all []stack.Relay
	var errs []error
	for _, domain := range slices.Sorted(maps.Keys(ways)) {
		way := ways[domain]
		r := stack.Relay{Relay: images.Relay{
			Domain: domain, Host: way.Host, Port: int(way.Port), User: way.User, Verify: way.TLS == config.RelayVerify,
		}}
		table := "relay"
		if domain != "" {
			table = fmt.Sprintf("relay.domain.%q", domain)
		}
		var err error
		if way.PasswordFile != "" {
			if r.Password, r.Generation, err = readPasswordFile(way.PasswordFile); err != nil {
				errs = append(errs, fmt.Errorf("read %s.password_file: %w", table, err))
			}
		}
		if way.CAFile != "" {
			if r.Authorities, err = readAuthorities(way.CAFile); err != nil {
				errs = append(errs, fmt.Errorf("read %s.ca_file: %w", table, err))
			}
		}
		if domain != "" || r.Host != "" {
			all = append(all, r)
		}
	}
	return all, errors.Join(errs...)
}

// waiting are messages that a smarthost has not taken yet.
type waiting struct {
	Host     string
	Messages int
	Reason   string // of the first of them
}

// waitingFor are the smarthosts that mail waits for, by name: what is not on its way
// to an account here is on its way to the smarthost of its sender's domain.
func waitingFor(queue []stack.Queued, relay config.Relay) []waiting {
	found := map[string]*waiting{}
	for _, m := range queue {
		host := relay.Host
		if way, own := relay.Domains[strings.ToLower(m.Sender[strings.LastIndexByte(m.Sender, '@')+1:])]; own {
			host = way.Host
		}
		i := slices.IndexFunc(m.Recipients, func(r stack.QueuedRecipient) bool { return r.Delay != "" && !inward.MatchString(r.Delay) })
		if host == "" || i < 0 {
			continue
		}
		if found[host] == nil {
			found[host] = &waiting{Host: host, Reason: m.Recipients[i].Delay}
		}
		found[host].Messages++
	}
	var all []waiting
	for _, host := range slices.Sorted(maps.Keys(found)) {
		all = append(all, *found[host])
	}
	return all
}

// inward are reasons why an account here has not got a message.
var inward = regexp.MustCompile(`/socket/dovecot/|address resolver failure`)

// readAuthorities reads a PEM file with certificates, and gives nothing else of it.
func readAuthorities(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	var found strings.Builder
	for len(data) > 0 {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return "", fmt.Errorf("%s: %w", path, err)
		}
		if err := pem.Encode(&found, &pem.Block{Type: block.Type, Bytes: block.Bytes}); err != nil {
			return "", err
		}
	}
	if found.Len() == 0 {
		return "", fmt.Errorf("%s holds no certificate in PEM form", path)
	}
	return found.String(), nil
}

// readPasswordFile reads a password of one line from a file that nobody but
// its owner can read. Its generation is when it was last changed.
func readPasswordFile(path string) (password string, generation int64, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", 0, err
	}
	switch {
	case !info.Mode().IsRegular():
		return "", 0, fmt.Errorf("%s is not a regular file", path)
	case info.Mode().Perm()&0o077 != 0:
		return "", 0, fmt.Errorf("%s can be read by others: chmod 600 %s", path, path)
	case info.Size() > 1024:
		return "", 0, fmt.Errorf("%s has %d bytes: more than a password of one line", path, info.Size())
	}
	data := make([]byte, info.Size())
	if _, err := f.Read(data); err != nil {
		return "", 0, fmt.Errorf("%s is empty or cannot be read: %w", path, err)
	}
	password = strings.TrimRight(string(data), "\r\n")
	if password == "" || strings.ContainsAny(password, "\r\n\x00") {
		return "", 0, fmt.Errorf("%s must hold the password in one line", path)
	}
	return password, info.ModTime().UnixNano(), nil
}
