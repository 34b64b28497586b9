package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mailstack/accounts"
	"mailstack/config"
	"mailstack/dns"
	"mailstack/stack"
)

// status is what `mailstack status` shows, and its JSON form.
type status struct {
	Schema      int              `json:"schema"`
	Stack       string           `json:"stack"`
	Hostname    string           `json:"hostname"`
	Status      string           `json:"status"` // ok, warning, critical
	Problems    []string         `json:"problems"`
	Services    []statusService  `json:"services"`
	Sockets     []statusSocket   `json:"sockets"`
	Certificate *certStatus      `json:"certificate"`
	DNS         *statusDNS       `json:"dns"`          // null: on loopback, or not running
	Accounts    *int             `json:"accounts"`     // null: the database did not answer
	Queue       *int             `json:"queue"`        // null: Postfix did not answer
	HeldBack    []stack.HeldBack `json:"held_back"`    // null: Dovecot did not answer
	Limited     []stack.Limited  `json:"limited"`      // null: Postfix did not answer
	DANE        *bool            `json:"dane"`         // for mail that goes straight; null: the resolver did not answer
	Disks       []stack.DiskFree `json:"disks"`        // one for each file system
	Maintained  *time.Time       `json:"maintained"`   // last maintenance run
	Pending     map[string]int   `json:"updates"`      // packages with updates, by service
	ProbeStatus string           `json:"probe_status"` // of the last maintenance run

	smarthost string // that takes all outgoing mail
}

type statusService struct {
	Service  string       `json:"service"`
	State    string       `json:"state"`
	Health   string       `json:"health"`
	Since    *time.Time   `json:"since"`
	Restarts int          `json:"restarts"`
	Image    string       `json:"image"`
	Built    *time.Time   `json:"image_built"`
	Ports    []statusPort `json:"ports"`
}

type statusPort struct {
	Address string `json:"address"`
	Port    uint16 `json:"port"`
	Name    string `json:"name"`
}

type statusSocket struct {
	Socket   string `json:"socket"`
	Consumer string `json:"consumer"`
	Mount    string `json:"mount"` // ro, rw or missing
}

// statusDNS counts records by how they were found; see package dns.
type statusDNS struct {
	OK      int `json:"ok"`
	Warning int `json:"warning"`
	Wrong   int `json:"wrong"`
	Unknown int `json:"unknown"`

	summary string
}

type certStatus struct {
	NotAfter time.Time `json:"not_after"`
	DaysLeft float64   `json:"days_left"`
	Names    []string  `json:"names"`
}

func newStatusCmd(a *app) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show services, sockets, ports, certificate, accounts, queue and disk",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkFormat(format); err != nil {
				return err
			}
			s, err := a.status(cmd.Context())
			if err != nil {
				return err
			}
			if format == "json" {
				return a.printJSON(s)
			}
			return a.printStatus(s)
		},
	}
	addFormat(cmd, &format)
	return cmd
}

func (a *app) status(ctx context.Context) (*status, error) {
	cfg, err := a.config()
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
	containers, err := e.Containers(ctx, cfg.Name)
	if err != nil {
		return nil, err
	}
	s := &status{
		Schema: 1, Stack: cfg.Name, Hostname: cfg.Hostname, Problems: []string{}, Services: []statusService{},
		Sockets: []statusSocket{}, Pending: map[string]int{}, smarthost: cfg.Relay.Host,
	}
	byService := map[string]stack.Container{}
	for _, c := range containers {
		if c.Name == stack.ContainerName(cfg.Name, c.Labels[stack.LabelService]) {
			byService[c.Labels[stack.LabelService]] = c
		}
	}
	for _, service := range g.Services {
		if err := s.addService(ctx, e, service, byService[service.Name]); err != nil {
			return nil, err
		}
	}
	for _, edge := range g.Edges() {
		s.addSocket(edge, byService[edge.Consumer])
	}
	s.addCertificate(cfg)
	if len(containers) > 0 {
		s.addAccounts(ctx, a)
		s.addQueue(ctx, e, byService["postfix"].Name, cfg.Relay)
		s.addDNS(ctx, a, cfg)
		s.addHeldBack(ctx, a, e, byService["dovecot"])
		s.addLimited(ctx, e, byService["postfix"])
		s.addDANE(ctx, e, byService["postfix"])
	}
	s.Disks = stack.Disks(layout(cfg), g)
	for _, d := range s.Disks {
		if d.FreeShare < 0.05 {
			s.critical("the disk of %s is nearly full: %.0f %% free", strings.Join(d.Volumes, ", "), d.FreeShare*100)
		}
	}
	m, err := lastMaintenance(cfg)
	if err != nil {
		return nil, err
	}
	s.addMaintenance(m, byService)
	if s.Status == "" {
		s.Status = "ok"
	}
	return s, nil
}

func (s *status) critical(format string, args ...any) {
	s.Status = "critical"
	s.Problems = append(s.Problems, fmt.Sprintf(format, args...))
}

func (s *status) warning(format string, args ...any) {
	if s.Status == "" {
		s.Status = "warning"
	}
	s.Problems = append(s.Problems, fmt.Sprintf(format, args...))
}

func (s *status) addService(ctx context.Context, e stack.Engine, service stack.Service, c stack.Container) error {
	row := statusService{Service: service.Name, State: "missing", Ports: []statusPort{}}
	defer func() { s.Services = append(s.Services, row) }()
	if c.Name == "" {
		s.critical("%s has no container: mailstack up", service.Name)
		return nil
	}
	row.State, row.Health, row.Restarts, row.Image = c.State, c.HealthStatus, c.RestartCount, c.Image
	if !c.StartedAt.IsZero() {
		row.Since = &c.StartedAt
	}
	for _, p := range c.Ports {
		row.Ports = append(row.Ports, statusPort{Address: p.Address.String(), Port: p.Host, Name: listenerKey(service, p.Container)})
	}
	switch {
	case c.State != "running":
		s.critical("%s is %s: mailstack up", service.Name, c.State)
	case c.HealthStatus == "unhealthy":
		s.critical("%s is unhealthy: %s", service.Name, c.HealthOutput)
	}
	img, err := e.Image(ctx, c.ImageID)
	if errors.Is(err, stack.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	row.Built = &img.Created
	return nil
}

func listenerKey(service stack.Service, port uint16) string {
	for _, l := range service.Listeners {
		if l.Port == port {
			return l.Key
		}
	}
	return ""
}

func (s *status) addSocket(edge stack.Edge, c stack.Container) {
	row := statusSocket{Socket: edge.Provider + "/" + edge.Socket, Consumer: edge.Consumer, Mount: "missing"}
	for _, m := range c.Mounts {
		if m.Target == stack.SocketRoot+"/"+edge.Provider {
			row.Mount = "rw"
			if m.ReadOnly {
				row.Mount = "ro"
			}
		}
	}
	if c.Name != "" && row.Mount != "ro" {
		s.critical("%s has the socket directory of %s mounted %s, not read-only", edge.Consumer, edge.Provider, row.Mount)
	}
	s.Sockets = append(s.Sockets, row)
}

func (s *status) addCertificate(cfg *config.Config) {
	now := time.Now()
	state, err := certStore(cfg).Inspect(now)
	for _, problem := range state.Problems {
		s.warning("certificate: %v; %s", problem, problem.Hint())
	}
	if err != nil || state.Leaf == nil {
		s.critical("there is no usable certificate: mailstack up")
		return
	}
	s.Certificate = &certStatus{
		NotAfter: state.Leaf.NotAfter, Names: state.Leaf.Names,
		DaysLeft: state.Leaf.NotAfter.Sub(now).Hours() / 24,
	}
	if state.StandIn {
		s.critical("%s; mailstack maintain tries again", standIn(cfg))
	} else if due, cause := state.Due(); due {
		s.warning("the certificate is due (%s): mailstack maintain", cause)
	}
	for _, warning := range state.Warnings {
		s.warning("%s", warning)
	}
}

func (s *status) addAccounts(ctx context.Context, a *app) {
	db, done, err := a.database(ctx)
	if err == nil {
		defer done()
		var count accounts.Counts
		if count, err = db.Count(ctx); err == nil {
			s.Accounts = &count.Accounts
			return
		}
	}
	s.critical("accounts cannot be read: %v", err)
}

func (s *status) addQueue(ctx context.Context, e stack.Engine, container string, relay config.Relay) {
	if container == "" {
		return
	}
	queue, err := stack.Queue(ctx, e, container)
	if err != nil {
		s.critical("the queue cannot be read: %v", err)
		return
	}
	n := len(queue)
	s.Queue = &n
	for _, w := range waitingFor(queue, relay) {
		s.warning("%d messages wait for the smarthost %s: %s", w.Messages, w.Host, w.Reason)
	}
}

// addDANE is no problem by itself: mail goes by TLS where it can.
func (s *status) addDANE(ctx context.Context, e stack.Engine, c stack.Container) {
	if c.State != "running" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if validates, err := stack.Validates(ctx, e, c.Name); err == nil {
		s.DANE = &validates
	}
}

func (s *status) addDNS(ctx context.Context, a *app, cfg *config.Config) {
	if cfg.Loopback() {
		return
	}
	report, err := a.glanceDNS(ctx, cfg)
	if err != nil {
		s.warning("the DNS could not be compared: %v", err)
		return
	}
	s.DNS = &statusDNS{report.Count(dns.OK), report.Count(dns.Warning), report.Count(dns.Wrong), report.Count(dns.Unknown), report.Summary()}
	for _, f := range report.Findings {
		if f.Status == dns.Wrong {
			s.critical("DNS: %s: mailstack dns check", f.Text())
		}
	}
	if s.DNS.Unknown > 0 {
		s.warning("DNS: no answer about %d records: mailstack dns check", s.DNS.Unknown)
	}
}

// Maintenance is daily: two missed runs are worth a red light.
const maintenanceOverdue = 49 * time.Hour

func (s *status) addMaintenance(m *maintenance, running map[string]stack.Container) {
	if m == nil {
		for _, c := range running {
			if time.Since(c.StartedAt) > maintenanceOverdue {
				s.critical("maintenance has not run since the start: mailstack systemd --install, or a cron line")
				return
			}
		}
		return
	}
	s.Maintained = &m.When
	var probed struct {
		Status string `json:"status"`
	}
	if json.Unmarshal(m.Probe, &probed) == nil {
		s.ProbeStatus = probed.Status
	}
	if s.ProbeStatus == "critical" {
		s.critical("the probe of the last maintenance run was critical: mailstack probe")
	}
	for service, list := range m.Updates {
		s.Pending[service] = len(list)
		if len(list) > 0 {
			s.warning("the image of %s has %d packages with updates: mailstack up --refresh", service, len(list))
		}
	}
	for _, p := range m.Problem {
		s.warning("maintenance: %s", p)
	}
	if time.Since(m.When) > maintenanceOverdue {
		s.critical("maintenance is overdue: it last ran %s", m.When.Format("2006-01-02 15:04"))
	}
}
