package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"mailstack/accounts"
)

// passwordSource is where a new password comes from. It is never an argument:
// those are seen by every user of the host and kept by the shell.
type passwordSource struct {
	stdin, generate bool
}

func (s *passwordSource) addFlags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&s.stdin, "password-stdin", false, "read the password from standard input, one line")
	cmd.Flags().BoolVar(&s.generate, "generate", false, "make a password and print it, once, on standard output")
}

// check refuses flags that cannot be obeyed, before anything is done.
func (s *passwordSource) check(a *app) error {
	switch {
	case s.stdin && s.generate:
		return usageError(errors.New("--password-stdin and --generate exclude each other"))
	case !s.stdin && !s.generate && !a.terminal():
		return usageError(errors.New("there is no terminal to ask for the password at: use --password-stdin or --generate"))
	}
	return nil
}

// read gets the password.
func (s *passwordSource) read(ctx context.Context, a *app) (password accounts.Secret, err error) {
	switch {
	case s.generate:
		return accounts.GeneratePassword(), nil
	case s.stdin:
		password, err = readPasswordLine(a.Stdin)
	default:
		password, err = askPassword(ctx, a)
	}
	if err != nil {
		return accounts.Secret{}, err
	}
	if strings.ContainsFunc(password.Reveal(), func(r rune) bool { return r > 126 }) {
		fmt.Fprintln(a.Stderr, "warning: the password has letters beyond ASCII, which not every mail program sends alike")
	}
	return password, accounts.CheckPassword(password)
}

// show prints a generated password, after the account has it.
func (s *passwordSource) show(a *app, password accounts.Secret) error {
	if !s.generate {
		return nil
	}
	if _, err := fmt.Fprintln(a.Stdout, password.Reveal()); err != nil {
		return fmt.Errorf("print the password (it is set, and lost now): %w", err)
	}
	return nil
}

// readPasswordLine reads the one line that --password-stdin promises.
func readPasswordLine(r io.Reader) (accounts.Secret, error) {
	const most = 4096 // more than CheckPassword lets through
	scanner := bufio.NewScanner(io.LimitReader(r, most))
	scanner.Buffer(make([]byte, most), most)
	var line string
	if scanner.Scan() {
		line = scanner.Text() // without its line end, CRLF too
	}
	extra := scanner.Scan()
	switch err := scanner.Err(); {
	case err != nil:
		return accounts.Secret{}, fmt.Errorf("read password: %w", err)
	case line == "":
		return accounts.Secret{}, errors.New("read password: standard input has no first line")
	case extra:
		return accounts.Secret{}, errors.New("read password: standard input has more than one line")
	}
	return accounts.NewSecret(line), nil
}

// askPassword asks twice at the terminal, without showing what is typed.
func askPassword(ctx context.Context, a *app) (accounts.Secret, error) {
	first, err := askHidden(ctx, a, "Password: ")
	if err != nil {
		return accounts.Secret{}, err
	}
	// Before it is typed again for nothing.
	if err := accounts.CheckPassword(first); err != nil {
		return accounts.Secret{}, err
	}
	again, err := askHidden(ctx, a, "Again: ")
	if err != nil {
		return accounts.Secret{}, err
	}
	if first.Reveal() != again.Reveal() {
		return accounts.Secret{}, errors.New("the two passwords differ; nothing was changed")
	}
	return first, nil
}

// askHidden reads a line without echo. A signal does not end the read, so on
// one the terminal is put back as it was and the read is left behind.
func askHidden(ctx context.Context, a *app, prompt string) (accounts.Secret, error) {
	file, ok := a.Stdin.(*os.File)
	if !ok {
		return accounts.Secret{}, errors.New("read password: standard input is not a terminal")
	}
	fd := int(file.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return accounts.Secret{}, fmt.Errorf("read password: %w", err)
	}
	type answer struct {
		line []byte
		err  error
	}
	answers := make(chan answer, 1)
	fmt.Fprint(a.Stderr, prompt)
	go func() {
		line, err := term.ReadPassword(fd)
		answers <- answer{line, err}
	}()
	select {
	case got := <-answers:
		fmt.Fprintln(a.Stderr) // the user's own line end was not shown
		if got.err != nil {
			return accounts.Secret{}, fmt.Errorf("read password: %w", got.err)
		}
		return accounts.NewSecret(string(got.line)), nil
	case <-ctx.Done():
		fmt.Fprintln(a.Stderr)
		return accounts.Secret{}, errors.Join(ctx.Err(), term.Restore(fd, before))
	}
}
