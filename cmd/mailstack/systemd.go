package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"mailstack/config"
)

type systemdOptions struct {
	cron, install, remove bool
	root, binary          string
}

func newSystemdCmd(a *app) *cobra.Command {
	var opts systemdOptions
	cmd := &cobra.Command{
		Use:   "systemd",
		Short: "Print or install the units that start and maintain the stack",
		Long: "systemd prints four units: a service that brings the stack up at boot, after its\n" +
			"mounts; a service that does the daily maintenance; its timer; and a service that\n" +
			"is the Prometheus exporter (`mailstack probe --listen " + exporterAddress + "`).\n" +
			"--install writes them, enables the first and the timer, and starts the timer. The\n" +
			"exporter is not enabled: `systemctl enable --now mailstack-NAME-exporter` does it,\n" +
			"and `systemctl edit` gives it another address or --web-config. Where there is no\n" +
			"systemd, --cron prints a line for root's crontab instead.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := onlyOne(cmd, "cron", "install", "remove"); err != nil {
				return err
			}
			units, err := a.systemdUnits(opts)
			if err != nil {
				return err
			}
			manager := unitManager{root: opts.root, stack: units.stack}
			switch {
			case opts.cron:
				_, err = fmt.Fprint(a.Stdout, units.cron())
			case opts.install:
				err = manager.install(cmd.Context(), units.files(), a.Stdout)
			case opts.remove:
				err = manager.remove(cmd.Context(), units.files(), a.Stdout)
			default:
				for _, unit := range units.files() {
					fmt.Fprintf(a.Stdout, "# /etc/systemd/system/%s\n%s\n", unit.name, unit.content)
				}
			}
			return err
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&opts.cron, "cron", false, "print a line for root's crontab instead")
	flags.BoolVar(&opts.install, "install", false, "write the units, enable them and start the timer")
	flags.BoolVar(&opts.remove, "remove", false, "disable and remove the units; the stack goes on running")
	flags.StringVar(&opts.root, "root", "/", "`DIR` of the system to change")
	flags.StringVar(&opts.binary, "binary", "", "`FILE` that the units run (default this program)")
	_ = flags.MarkHidden("root")   // for tests; MarkHidden fails only
	_ = flags.MarkHidden("binary") // for a flag that is not there
	return cmd
}

// systemdUnits gathers what the units say from the configuration.
func (a *app) systemdUnits(opts systemdOptions) (units, error) {
	cfg, err := a.config()
	if err != nil {
		return units{}, err
	}
	if cfg.Path == "" {
		// Started from elsewhere, without the working directory of today, the
		// program might find another stack's file.
		return units{}, usageError(hinted(
			errors.New("units need a configuration file, and the demonstration has none"), "mailstack init"))
	}
	path, err := filepath.Abs(cfg.Path)
	if err != nil {
		return units{}, fmt.Errorf("find configuration file: %w", err)
	}
	binary := opts.binary
	if binary == "" {
		if binary, err = os.Executable(); err != nil {
			return units{}, fmt.Errorf("find own program file: %w", err)
		}
	}
	u := units{stack: cfg.Name, hostname: cfg.Hostname, binary: binary, config: path, paths: dataPaths(cfg)}
	return u, u.check()
}

// dataPaths are the directories that may each be a mount of their own.
func dataPaths(cfg *config.Config) []string {
	data := cfg.Data.Resolved()
	return []string{data.Dir, data.MySQL, data.MySQLSocket, data.Vmail, data.Queue}
}
