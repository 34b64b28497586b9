package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"mailstack/config"
)

// initCmd makes a configuration for a stack that shares nothing with the
// demonstration: from flags, and from answers where somebody can be asked.
type initCmd struct {
	app *app

	hostname, domain, postmaster string
	addresses                    []string
	name, dir                    string
	output                       string
}

func newInitCmd(app *app) *cobra.Command {
	c := &initCmd{app: app}
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Write a configuration file for mail of your own",
		Long: "init writes a commented configuration file for a stack of your own, and never\n" +
			"overwrites one. At a terminal it asks for what --hostname and --postmaster do\n" +
			"not say; without a terminal both are needed.\n\n" +
			"The file is ./mailstack.toml, or " + config.SystemPath + "\n" +
			"where ./mailstack.toml is the reference, in which nothing is switched on.",
		Example: "  mailstack init\n" +
			"  mailstack init --hostname mail.example.org --postmaster me@example.org",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.run(cmd.Context()) },
	}
	flags := cmd.Flags()
	flags.StringVar(&c.hostname, "hostname", "", "`NAME` of this mail server, as its clients and the DNS know it")
	flags.StringVar(&c.domain, "domain", "", "mail `DOMAIN`, behind the @ of your addresses (default from the others)")
	flags.StringVar(&c.postmaster, "postmaster", "", "`ADDRESS` that gets postmaster@, abuse@ and root@ of every domain")
	flags.StringArrayVar(&c.addresses, "address", nil, "`IP` address to listen on, may be repeated (default 0.0.0.0 and ::)")
	flags.StringVar(&c.name, "name", "mailstack", "`NAME` of the stack")
	flags.StringVar(&c.dir, "dir", "/var/lib/mailstack", "`DIRECTORY` of the stack")
	flags.StringVar(&c.output, "output", "", "`FILE` to write")
	return cmd
}

// run writes the file and says what comes next.
func (c *initCmd) run(ctx context.Context) error {
	if c.output == "" {
		c.output = c.app.configPath
	}
	output, err := initOutput(c.output, config.LocalPath, config.SystemPath)
	if err != nil {
		return err
	}
	cfg := config.Default()
	if err := c.takeFlags(&cfg); err != nil {
		return usageError(err)
	}
	if c.hostname == "" || c.postmaster == "" {
		if !c.app.terminal() {
			return usageError(c.missing())
		}
		if err := c.ask(ctx, &cfg, output); err != nil {
			return err
		}
	}
	if len(c.addresses) == 0 {
		if err := cfg.Set("listen.address", anyAddress...); err != nil {
			return err
		}
	}
	data := config.Render(cfg)
	if _, err := config.Parse(output, data); err != nil { // what keys must agree on
		return usageError(fmt.Errorf("these values do not go together, nothing is written:\n%w", err))
	}
	if err := writeNew(output, data); err != nil {
		return err
	}
	c.tellNext(&cfg, output)
	return nil
}

// anyAddress is every address of the host.
var anyAddress = []string{"0.0.0.0", "::"}

// initOutput says which file to write. It comes before all questions: nobody
// shall give answers that have no place to go.
func initOutput(explicit, local, system string) (string, error) {
	if explicit != "" {
		return explicit, absent(explicit, "edit it, or name another --output FILE")
	}
	switch {
	case absent(local, "") == nil:
		// Where the system has a file, a local one would be read instead.
		return local, absent(system, "edit it, or write another with --output FILE")
	case config.Active(local):
		return local, absent(local, "edit it, or write another with --output "+system)
	default: // the reference, which config.Find passes over
		return system, absent(system, "edit it, or write another with --output FILE")
	}
}

// absent is an error that matches fs.ErrExist where there is a file, or a link.
func absent(path, hint string) error {
	_, err := os.Lstat(path)
	switch {
	case err == nil:
		return hinted(fmt.Errorf("write %s: %w, and init overwrites nothing", path, fs.ErrExist), hint)
	case errors.Is(err, fs.ErrNotExist):
		return nil
	}
	return fmt.Errorf("look for a configuration: %w", err)
}

// takeFlags takes over what flags say, or tells everything that is wrong with
// them.
func (c *initCmd) takeFlags(cfg *config.Config) error {
	var problems []error
	take := func(flag, key string, values ...string) {
		if len(values) == 0 || values[0] == "" && len(values) == 1 && key != "name" && key != "data.dir" {
			return
		}
		if err := cfg.Set(key, values...); err != nil {
			problems = append(problems, fmt.Errorf("--%s: %w", flag, err))
		}
	}
	take("hostname", "hostname", c.hostname)
	take("postmaster", "postmaster", c.postmaster)
	take("address", "listen.address", c.addresses...)
	take("name", "name", c.name)
	take("dir", "data.dir", c.dir)
	if c.domain != "" {
		domain, err := checkDomain(c.domain)
		if err != nil {
			problems = append(problems, fmt.Errorf("--domain: %w", err))
		}
		c.domain = domain
	}
	return errors.Join(problems...)
}

// checkDomain takes a mail domain, which is spelt as a host name is.
func checkDomain(domain string) (string, error) {
	var scratch config.Config
	err := scratch.Set("hostname", domain)
	return scratch.Hostname, err
}

// missing names the flags that only a person could make good for.
func (c *initCmd) missing() error {
	var flags []string
	if c.hostname == "" {
		flags = append(flags, "--hostname")
	}
	if c.postmaster == "" {
		flags = append(flags, "--postmaster")
	}
	return fmt.Errorf("init needs %s where there is no terminal to ask at", strings.Join(flags, " and "))
}

// ask asks for what no flag has said.
func (c *initCmd) ask(ctx context.Context, cfg *config.Config, output string) error {
	q := newQuestions(ctx, c.app.Stdin, c.app.Stderr)
	fmt.Fprintf(c.app.Stderr, "This writes %s. Return takes what is in [brackets].\n\n", output)
	hostname := ""
	if c.hostname != "" {
		hostname = cfg.Hostname
	}
	if c.domain == "" {
		if err := q.ask("Mail domain, behind the @ of your addresses", parent(hostname), func(answer string) (err error) {
			c.domain, err = checkDomain(answer)
			return err
		}); err != nil {
			return err
		}
	}
	if hostname == "" {
		if err := q.ask("Name of this mail server, as its clients and the DNS know it", "mail."+c.domain, func(answer string) error {
			return cfg.Set("hostname", answer)
		}); err != nil {
			return err
		}
	}
	if c.postmaster == "" {
		home := cfg.Hostname // the first up makes the mailbox there in any case
		if within(cfg.Hostname, c.domain) {
			home = c.domain
		}
		if err := q.ask("Postmaster, who hears of problems and complaints", "postmaster@"+home, func(answer string) error {
			return cfg.Set("postmaster", answer)
		}); err != nil {
			return err
		}
	}
	if len(c.addresses) == 0 {
		return q.ask("IP addresses to listen on", strings.Join(anyAddress, " "), func(answer string) error {
			c.addresses = strings.FieldsFunc(answer, func(r rune) bool { return r == ' ' || r == ',' })
			return cfg.Set("listen.address", c.addresses...)
		})
	}
	return nil
}

// within says whether domain is host or a parent domain of it.
func within(host, domain string) bool {
	return host == domain || strings.HasSuffix(host, "."+domain)
}

// parent is the domain above a host, or the host where there is only a
// top-level domain above it.
func parent(host string) string {
	_, above, _ := strings.Cut(host, ".")
	if !strings.Contains(above, ".") {
		return host
	}
	return above
}

// tellNext says on stdout what is written and what to do now.
func (c *initCmd) tellNext(cfg *config.Config, output string) {
	command := "mailstack"
	if found, err := config.Find(""); err != nil || !samePath(found, output) {
		command += " --config " + output
	}
	_, home, _ := strings.Cut(cfg.Postmaster, "@")
	made := within(cfg.Hostname, home) // the first up makes that mailbox and its domain
	domain := c.domain
	switch {
	case domain != "":
	case made:
		domain = home
	default:
		domain = parent(cfg.Hostname)
	}
	w := c.app.Stdout
	fmt.Fprintf(w, "%s is written.\n\nNow, as root:\n\n", output)
	fmt.Fprintf(w, "    %s up\n", command)
	if !made || domain != home {
		fmt.Fprintf(w, "    %s domain add %s\n", command, domain)
	}
	fmt.Fprintf(w, "    %s account add you@%s\n\n", command, domain)
	fmt.Fprintf(w, "The DNS needs an address record (A, AAAA) for %s,\nand an MX record for %s that names it.\n", cfg.Hostname, domain)
}

func samePath(a, b string) bool {
	absA, errA := filepath.Abs(a)
	absB, errB := filepath.Abs(b)
	return a != "" && errA == nil && errB == nil && absA == absB
}

// writeNew writes a file that must not be there yet, all of it or nothing. Its
// directory is made, the ones above are not.
func writeNew(path string, data []byte) (err error) {
	dir := filepath.Dir(path)
	defer func() {
		switch {
		case errors.Is(err, fs.ErrPermission):
			err = hinted(fmt.Errorf("write %s: %w", path, err), "run it as root, or write another file with --output FILE")
		case err != nil:
			err = fmt.Errorf("write %s: %w", path, err)
		}
	}()
	made := os.Mkdir(dir, 0o755)
	if made != nil && !errors.Is(made, fs.ErrExist) {
		return made
	}
	defer func() {
		if err != nil && made == nil {
			os.Remove(dir)
		}
	}()
	file, err := os.CreateTemp(dir, ".mailstack.toml-*")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	defer file.Close()
	if _, err := file.Write(data); err != nil {
		return err
	}
	if err := errors.Join(file.Chmod(0o644), file.Sync()); err != nil {
		return err
	}
	// A link, unlike a rename, fails where a file has appeared meanwhile.
	if err := os.Link(file.Name(), path); err != nil {
		return err
	}
	parent, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer parent.Close()
	return parent.Sync()
}

// questions asks a person, one line each.
type questions struct {
	ctx   context.Context
	lines <-chan string // closed at the end of the input
	out   io.Writer
}

// newQuestions reads ahead in a goroutine: a terminal cannot be read with a
// deadline, and Ctrl-C must be answered while it waits. The goroutine ends
// with the input, or with the process.
func newQuestions(ctx context.Context, in io.Reader, out io.Writer) *questions {
	lines := make(chan string)
	go func() {
		defer close(lines)
		for scanner := bufio.NewScanner(in); scanner.Scan(); {
			select {
			case lines <- scanner.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	return &questions{ctx: ctx, lines: lines, out: out}
}

// ask asks until take is content with the answer.
func (q *questions) ask(question, preset string, take func(string) error) error {
	for {
		fmt.Fprint(q.out, question)
		if preset != "" {
			fmt.Fprintf(q.out, " [%s]", preset)
		}
		fmt.Fprint(q.out, ": ")
		var answer string
		var more bool
		select {
		case answer, more = <-q.lines:
		case <-q.ctx.Done():
			fmt.Fprintln(q.out)
			return q.ctx.Err()
		}
		if !more {
			fmt.Fprintln(q.out)
			return errors.New("the input ended before the last question: nothing is written")
		}
		if answer = strings.TrimSpace(answer); answer == "" {
			answer = preset
		}
		err := take(answer)
		if err == nil {
			return nil
		}
		fmt.Fprintf(q.out, "  %v\n", err)
	}
}
