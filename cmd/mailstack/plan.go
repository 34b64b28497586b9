package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mailstack/config"
	"mailstack/stack"
)

// target is the configured stack with the engine that runs it.
type target struct {
	cfg    *config.Config
	set    stack.Settings
	graph  *stack.Graph
	engine stack.Engine
	info   stack.EngineInfo
}

// open wires configuration and engine, and refuses a host that cannot work.
func (a *app) open(ctx context.Context) (*target, error) {
	cfg, err := a.config()
	if err != nil {
		return nil, err
	}
	set, err := a.settings(cfg)
	if err != nil {
		return nil, err
	}
	g, err := graph(cfg)
	if err != nil {
		return nil, err
	}
	e, err := a.engine(ctx)
	if err != nil {
		return nil, err
	}
	info, err := e.Info(ctx)
	if err != nil {
		return nil, err
	}
	if err := stack.CheckHost(info); err != nil {
		return nil, err
	}
	return &target{cfg: cfg, set: set, graph: g, engine: e, info: info}, nil
}

// planned is one run's snapshot: what should be, what is, what must be done.
type planned struct {
	desired  *stack.Desired
	observed *stack.Observed
	plan     *stack.Plan
}

// snapshot is the stack as it should be and as it is.
func (a *app) snapshot(ctx context.Context, t *target) (*stack.Desired, *stack.Observed, error) {
	id, err := stack.ReadIdentity(t.set.Layout, secretNames(t.graph), time.Now())
	if err != nil {
		return nil, nil, err
	}
	d, err := stack.NewDesired(t.graph, t.set, id, a.tasks(t.cfg, t.graph, id))
	if err != nil {
		return nil, nil, err
	}
	o, err := stack.Observe(ctx, t.engine, d)
	return d, o, err
}

// plan observes and compares. It changes nothing.
func (a *app) plan(ctx context.Context, t *target, opts stack.Options) (*planned, error) {
	d, o, err := a.snapshot(ctx, t)
	if err != nil {
		return nil, err
	}
	p, err := stack.NewPlan(d, o, opts)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(stack.CheckRoom(t.info, t.set.Layout, p), stack.CheckPorts(ctx, d, o, p)); err != nil {
		return nil, err
	}
	return &planned{d, o, p}, nil
}

func newPlanCmd(a *app) *cobra.Command {
	var opts stack.Options
	var exitCode bool
	var format string
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Show what up would do, and why; change nothing",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkFormat(format); err != nil {
				return err
			}
			t, err := a.open(cmd.Context())
			if err != nil {
				return err
			}
			p, err := a.plan(cmd.Context(), t, opts)
			if err != nil {
				return err
			}
			if err := a.printPlan(p.plan, format); err != nil {
				return err
			}
			if exitCode && !p.plan.Empty() {
				return &exitError{code: exitPending}
			}
			return nil
		},
	}
	cmd.Flags().StringSliceVar(&opts.InitVolumes, "init-volume", nil, "plan as up --init-volume `NAME` would")
	cmd.Flags().BoolVar(&exitCode, "exit-code", false, "exit with status 4 when there is something to do")
	addFormat(cmd, &format)
	return cmd
}

// addFormat gives a command its --format.
func addFormat(cmd *cobra.Command, format *string) {
	cmd.Flags().StringVar(format, "format", "text", "`FORMAT` of the output: text or json")
}

func checkFormat(format string) error {
	if format != "text" && format != "json" {
		return usageError(fmt.Errorf("--format %s: allowed are text and json", format))
	}
	return nil
}

// planEntry is an operation as scripts read it.
type planEntry struct {
	Verb    string `json:"verb"`
	Subject string `json:"subject"`
	Cause   string `json:"cause"`
	Needs   []int  `json:"needs"`
}

func (a *app) printPlan(p *stack.Plan, format string) error {
	if format == "text" {
		_, err := fmt.Fprint(a.Stdout, p)
		return err
	}
	entries := []planEntry{}
	for _, op := range p.Operations {
		needs := op.Needs
		if needs == nil {
			needs = []int{}
		}
		entries = append(entries, planEntry{op.Action.Verb(), op.Subject, op.Cause, needs})
	}
	return a.printJSON(struct {
		Operations []planEntry `json:"operations"`
	}{entries})
}

// newGraphCmd draws the sockets: without an engine.
func newGraphCmd(a *app) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "graph",
		Short: "Draw which service talks to which over which socket",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			cfg, err := a.config()
			if err != nil {
				return err
			}
			g, err := graph(cfg)
			if err != nil {
				return err
			}
			draw := map[string]func() string{"mermaid": g.Mermaid, "dot": g.DOT}[format]
			if draw == nil {
				return usageError(fmt.Errorf("--format %s: allowed are mermaid and dot", format))
			}
			_, err = fmt.Fprint(a.Stdout, draw())
			return err
		},
	}
	cmd.Flags().StringVar(&format, "format", "mermaid", "`FORMAT` of the drawing: mermaid or dot")
	return cmd
}

// newSocketCmd lists the sockets of the graph.
func newSocketCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use: "socket", Short: "List the sockets that services share", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	var format string
	list := &cobra.Command{
		Use: "list", Short: "List every socket, who listens, who connects, and its path on this host", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return a.listSockets(format) },
	}
	addFormat(list, &format)
	cmd.AddCommand(list)
	return cmd
}

// socketEntry is a socket as scripts read it.
type socketEntry struct {
	Socket    string   `json:"socket"`
	Protocol  string   `json:"protocol"`
	Listens   string   `json:"listens"`
	Connects  []string `json:"connects"`
	HostPath  string   `json:"host_path"`
	InStarted []string `json:"waited_for_by"`
}

func (a *app) listSockets(format string) error {
	if err := checkFormat(format); err != nil {
		return err
	}
	cfg, err := a.config()
	if err != nil {
		return err
	}
	g, err := graph(cfg)
	if err != nil {
		return err
	}
	entries := []socketEntry{}
	for _, s := range g.Services {
		for _, p := range s.Provides {
			e := socketEntry{
				Socket: s.Name + "/" + p.Name, Protocol: p.About, Listens: s.Name,
				HostPath: layout(cfg).Socket(s.Name, p.Name), Connects: []string{}, InStarted: []string{},
			}
			for _, edge := range g.Edges() {
				if edge.Provider == s.Name && edge.Socket == p.Name {
					e.Connects = append(e.Connects, edge.Consumer)
					if edge.Need == stack.ToStart {
						e.InStarted = append(e.InStarted, edge.Consumer)
					}
				}
			}
			entries = append(entries, e)
		}
	}
	if format == "json" {
		return a.printJSON(entries)
	}
	rows := [][]string{{"SOCKET", "SPEAKS", "CONNECTS", "ON THIS HOST"}}
	for _, e := range entries {
		rows = append(rows, []string{e.Socket, e.Protocol, strings.Join(e.Connects, ", "), e.HostPath})
	}
	return a.printTable(rows)
}
