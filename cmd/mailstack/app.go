package main

import (
	"encoding/json"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"mailstack/config"
	"mailstack/stack"
)

// app is what the commands share: the streams, the configuration file, and
// what is opened on demand and closed at the end.
type app struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	args           []string // of the command line, as they were given
	code           int      // exit code where there is no error

	configPath string
	cfg        *config.Config
	eng        stack.Engine
	closers    []func()

	// dns is the last look at the DNS that found no fault.
	dns dnsLook

	// renewal is what kept the certificate task from renewing, where what is
	// served can go on being served.
	renewal error
}

// commands lists the commands in the order in which help shows them.
func (a *app) commands() []*cobra.Command {
	return []*cobra.Command{
		newInitCmd(a), newPlanCmd(a), newUpCmd(a), newDownCmd(a), newStatusCmd(a), newUnbanCmd(a), newLogsCmd(a),
		newGraphCmd(a), newProbeCmd(a), newMaintainCmd(a), newMigrateCmd(a), newSystemdCmd(a),
		newDomainCmd(a), newAccountCmd(a), newAliasCmd(a), newSocketCmd(a), newCertCmd(a),
		newDNSCmd(a), newDKIMCmd(a), newSRSCmd(a), newClientConfigCmd(a), newImagesCmd(a), newVersionCmd(a),
	}
}

// close releases what commands opened.
func (a *app) close() {
	for i := len(a.closers) - 1; i >= 0; i-- {
		a.closers[i]()
	}
}

// terminal says whether a person sits at both ends: questions may be asked.
func (a *app) terminal() bool {
	return isTerminal(a.Stdin) && isTerminal(a.Stderr)
}

// colour says whether w may be painted: a terminal, and nobody said no
// (https://no-color.org).
func colour(w io.Writer) bool {
	return isTerminal(w) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

func isTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// printJSON writes v to stdout, indented, with a final newline.
func (a *app) printJSON(v any) error {
	enc := json.NewEncoder(a.Stdout)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func newVersionCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return a.printVersion() },
	}
}

func (a *app) printVersion() error {
	_, err := io.WriteString(a.Stdout, "mailstack "+version+"\n")
	return err
}
