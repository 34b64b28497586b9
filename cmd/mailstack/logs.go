package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"mailstack/stack"
)

func newLogsCmd(a *app) *cobra.Command {
	var spec stack.LogSpec
	var since time.Duration
	cmd := &cobra.Command{
		Use:   "logs [SERVICE...]",
		Short: "Print what the services logged",
		Long: "logs prints what the services logged, each line behind the service's name: of all\n" +
			"services, or of those named. With -f it goes on until interrupted.",
		Example: "  mailstack logs -f postfix\n  mailstack logs --since 10m",
		RunE: func(cmd *cobra.Command, services []string) error {
			if spec.Tail < 0 {
				return usageError(fmt.Errorf("--tail %d: allowed is 0 (all) or more", spec.Tail))
			}
			if since < 0 {
				return usageError(fmt.Errorf("--since %s: allowed is how long ago, like 10m", since))
			}
			if since > 0 {
				spec.Since = time.Now().Add(-since)
			}
			return a.logs(cmd.Context(), services, spec)
		},
	}
	cmd.Flags().BoolVarP(&spec.Follow, "follow", "f", false, "go on until interrupted")
	cmd.Flags().IntVarP(&spec.Tail, "tail", "n", 0, "only the last `N` lines of each service (0: all)")
	cmd.Flags().DurationVar(&since, "since", 0, "only what is younger than `DURATION` (1h30m)")
	return cmd
}

func (a *app) logs(ctx context.Context, services []string, spec stack.LogSpec) error {
	cfg, err := a.config()
	if err != nil {
		return err
	}
	g, err := graph(cfg)
	if err != nil {
		return err
	}
	var all []string
	for _, s := range g.Services {
		all = append(all, s.Name)
	}
	for _, name := range services {
		if !slices.Contains(all, name) {
			return usageError(fmt.Errorf("no service %q: there are %s", name, strings.Join(all, ", ")))
		}
	}
	if len(services) == 0 {
		services = all
	}
	e, err := a.engine(ctx)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	group, gctx := errgroup.WithContext(ctx)
	if !spec.Follow {
		group.SetLimit(1) // one service after the other
	}
	for _, name := range services {
		group.Go(func() error {
			out := &prefixWriter{mu: &mu, w: a.Stdout, prefix: fmt.Sprintf("%-8s ", name)}
			err := e.Logs(gctx, stack.ContainerName(cfg.Name, name), spec, out, out)
			out.flush()
			if errors.Is(err, stack.ErrNotFound) {
				return hinted(fmt.Errorf("read log of %s: the stack %s has no such container", name, cfg.Name), "mailstack up")
			}
			return err
		})
	}
	err = group.Wait()
	if spec.Follow && ctx.Err() != nil {
		return nil // a follower ends by being interrupted
	}
	return err
}

// prefixWriter writes whole lines, each behind the name of its service.
type prefixWriter struct {
	mu     *sync.Mutex
	w      io.Writer
	prefix string
	part   []byte
}

func (p *prefixWriter) Write(data []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.part = append(p.part, data...)
	for {
		i := bytes.IndexByte(p.part, '\n')
		if i < 0 {
			return len(data), nil
		}
		if _, err := fmt.Fprintf(p.w, "%s%s", p.prefix, p.part[:i+1]); err != nil {
			return 0, err
		}
		p.part = p.part[i+1:]
	}
}

func (p *prefixWriter) flush() {
	if len(p.part) > 0 {
		_, _ = p.Write([]byte("\n"))
	}
}
