package probe

import (
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
)

// Metrics is a report as Prometheus metrics (prometheus.Collector). Their names
// follow https://prometheus.io/docs/practices/naming/ and
// https://prometheus.io/docs/specs/om/open_metrics_spec/: base units, the unit
// last. Labels are names of the stack, of checks, steps, services and volumes;
// no address and no user is among them.
type Metrics struct {
	Report Report
	Ended  time.Time // when the run ended; zero: none has
}

// desc describes one metric.
func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("mailstack_probe_"+name, help, append([]string{"stack"}, labels...), nil)
}

var (
	successDesc  = desc("success", "1 if the last run found nothing critical and nothing unknown, else 0.")
	statusDesc   = desc("status", "The worst state of the last run: 0 ok, 1 warning, 2 critical, 3 unknown.")
	durationDesc = desc("duration_seconds", "How long the last run took.")
	endedDesc    = desc("last_run_timestamp_seconds", "When the last run ended, in Unix time.")

	checkSuccessDesc  = desc("check_success", "1 if the check found nothing critical and could look, else 0.", "check")
	checkStatusDesc   = desc("check_status", "The state of the check: 0 ok, 1 warning, 2 critical, 3 unknown.", "check")
	checkDurationDesc = desc("check_duration_seconds", "How long the check took.", "check")
	stepDurationDesc  = desc("step_duration_seconds", "How long a step of a check took, at the slowest of its addresses.", "check", "step")
)

// valueDesc says which metric a value of a check becomes.
type valueDesc struct {
	desc  *prometheus.Desc
	scale float64 // from the value's unit to the base unit
}

// valueDescs by the check's family and the value's name.
var valueDescs = map[string]valueDesc{
	"cert_left":           {desc("certificate_left_ratio", "The share of the certificate's life that is left.", "check"), 0.01},
	"cert_expiry":         {desc("certificate_expiry_timestamp_seconds", "When the certificate expires, in Unix time.", "check"), 1},
	"queue_messages":      {desc("queue_messages", "Messages that wait in the mail queue."), 1},
	"queue_deferred":      {desc("queue_deferred_messages", "Messages that were tried in vain at least once."), 1},
	"queue_oldest":        {desc("queue_oldest_age_seconds", "How long the oldest message in the queue has waited."), 1},
	"disk_free":           {desc("disk_free_ratio", "The share of the file system that is free, by the volumes on it.", "volumes"), 0.01},
	"containers_restarts": {desc("container_restarts", "How often the engine has restarted the service's container since it was made.", "service"), 1},
	"clock_synchronised":  {desc("clock_synchronised", "1 if something keeps the host's clock that the kernel knows of, else 0."), 1},
	"clock_error":         {desc("clock_error_seconds", "How wrong the host's clock may be; only of a clock that is kept."), 1},
}

// Describe implements prometheus.Collector.
func (m Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		successDesc, statusDesc, durationDesc, endedDesc,
		checkSuccessDesc, checkStatusDesc, checkDurationDesc, stepDurationDesc,
	} {
		ch <- d
	}
	for _, v := range valueDescs {
		ch <- v.desc
	}
}

// Collect implements prometheus.Collector. The series of success are there
// before the first run, at 0: an alert on a series that is missing does not
// fire.
func (m Metrics) Collect(ch chan<- prometheus.Metric) {
	r := m.Report
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, append([]string{r.Stack}, labels...)...)
	}
	gauge(successDesc, r.Status.success(len(r.Checks) > 0))
	if !m.Ended.IsZero() {
		gauge(statusDesc, float64(r.Status))
		gauge(durationDesc, r.Duration.Seconds())
		gauge(endedDesc, float64(m.Ended.UnixMilli())/1000)
	}
	for _, name := range r.unreached {
		gauge(checkSuccessDesc, 0, name)
	}
	for _, c := range r.Checks {
		run := c.Time.Unit != ""
		gauge(checkSuccessDesc, c.Status.success(!m.Ended.IsZero()), c.Name)
		if m.Ended.IsZero() {
			continue
		}
		gauge(checkStatusDesc, float64(c.Status), c.Name)
		if run {
			gauge(checkDurationDesc, c.Duration.Seconds(), c.Name)
		}
		for step, took := range slowest(c.Steps) {
			gauge(stepDurationDesc, took.Seconds(), c.Name, step)
		}
		collectValues(c, gauge)
	}
}

func collectValues(c Result, gauge func(d *prometheus.Desc, value float64, labels ...string)) {
	family, _, _ := strings.Cut(c.Name, ".")
	for _, v := range c.Values {
		d, ok := valueDescs[family+"_"+v.Name]
		switch {
		case !ok:
		case family == certFamily:
			gauge(d.desc, v.Amount*d.scale, c.Name)
		case v.Label != "":
			gauge(d.desc, v.Amount*d.scale, v.Label)
		default:
			gauge(d.desc, v.Amount*d.scale)
		}
	}
}

// success is 1 for what works, be it with a warning.
func (s Status) success(run bool) float64 {
	if run && (s == OK || s == Warning) {
		return 1
	}
	return 0
}

// slowest is the longest time of each step: addresses are no labels.
func slowest(steps []Step) map[string]time.Duration {
	all := make(map[string]time.Duration)
	for _, s := range steps {
		all[s.Name] = max(all[s.Name], s.Duration)
	}
	return all
}

// Pending is the report of a run that is still to come: every check is there
// and not known. The name of a server of others need not be looked up for it.
func Pending(t Target, o Options) Report {
	var names []string
	if t.Foreign && !selects(o.Skip, dnsCheck) && (len(o.Only) == 0 || selects(o.Only, dnsCheck)) {
		names = append(names, dnsCheck)
	}
	if len(t.Addresses) == 0 {
		t.Addresses = []netip.Addr{netip.IPv4Unspecified()}
	}
	for _, c := range selected(&t, o.Only, o.Skip) {
		names = append(names, c.Name)
	}
	var results []Result
	for _, name := range names {
		results = append(results, newResult(name, failf(KindNotRun, "not run yet"), nil, 0))
	}
	r := newReport(t.Stack, results, 0)
	r.Status = Unknown
	return r
}

// WriteText writes the metrics in the text format that Prometheus and the node
// exporter's textfile collector read.
func (m Metrics) WriteText(w io.Writer) error {
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(m); err != nil {
		return fmt.Errorf("gather metrics: %w", err)
	}
	families, err := registry.Gather()
	if err != nil {
		return fmt.Errorf("gather metrics: %w", err)
	}
	enc := expfmt.NewEncoder(w, expfmt.NewFormat(expfmt.TypeTextPlain))
	for _, f := range families {
		if err := enc.Encode(f); err != nil {
			return fmt.Errorf("write metrics: %w", err)
		}
	}
	return nil
}
