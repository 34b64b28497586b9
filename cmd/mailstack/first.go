package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"mailstack/accounts"
	"mailstack/config"
)

// firstAccount is the postmaster's mailbox, which the first up makes when the
// postmaster's domain is the host's own: its name, or a parent of it.
//
// Its generated password waits in a file of its own until it has been shown.
// So an up that was interrupted anywhere between makes and shows the same one.
type firstAccount struct{ cfg *config.Config }

func (f firstAccount) path() string { return layout(f.cfg).SecretFile("first-account") }

// ours says whether the postmaster's mailbox belongs on this stack.
func (f firstAccount) ours() bool {
	_, domain, _ := strings.Cut(f.cfg.Postmaster, "@")
	return domain != "" && within(f.cfg.Hostname, domain)
}

// begin makes the password, if the database is new.
func (f firstAccount) begin(ctx context.Context, db *accounts.DB) error {
	current, _, err := db.Version(ctx)
	if err != nil || current != 0 || !f.ours() {
		return err
	}
	file, err := os.OpenFile(f.path(), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("keep first password: %w", err)
	}
	defer file.Close()
	if _, err := fmt.Fprintln(file, accounts.GeneratePassword().Reveal()); err != nil {
		return fmt.Errorf("keep first password: %w", err)
	}
	return file.Sync()
}

// password is the password that has not been shown yet; empty: none.
func (f firstAccount) password() (string, error) {
	data, err := os.ReadFile(f.path())
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read first password: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}

// pending says whether the account is still to be made.
func (f firstAccount) pending(ctx context.Context, db *accounts.DB) (bool, error) {
	password, err := f.password()
	if err != nil || password == "" {
		return false, err
	}
	address, err := accounts.ParseAccount(f.cfg.Postmaster)
	if err != nil {
		return false, err
	}
	_, err = db.ShowAccount(ctx, address)
	if errors.Is(err, accounts.ErrNotFound) {
		return true, nil
	}
	return false, err
}

// create makes the domain and the account.
func (f firstAccount) create(ctx context.Context, db *accounts.DB) error {
	pending, err := f.pending(ctx, db)
	if err != nil || !pending {
		return err
	}
	password, err := f.password()
	if err != nil {
		return err
	}
	address, err := accounts.ParseAccount(f.cfg.Postmaster)
	if err != nil {
		return err
	}
	if err := db.AddDomain(ctx, address.Domain); err != nil && !errors.Is(err, accounts.ErrExists) {
		return err
	}
	hash, err := accounts.HashPassword(accounts.NewSecret(password))
	if err != nil {
		return err
	}
	return db.AddAccount(ctx, accounts.NewAccount{Address: address, Hash: hash, QuotaBytes: f.cfg.Limits.QuotaBytes})
}

// shown forgets the password once a person has seen it.
func (f firstAccount) shown() error {
	if err := os.Remove(f.path()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget first password: %w", err)
	}
	return nil
}
