package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Source is a server that an Exporter probes.
type Source struct {
	// Pending is what is shown until the first run has ended: see Pending.
	Pending Report
	// Run probes it. It is called with the exporter's context, never for two
	// scrapes at once.
	Run func(ctx context.Context) Report
}

// Exporter serves reports as metrics over HTTP: /metrics for the local stack,
// /probe?target=NAME for the others in the multi-target pattern
// (https://prometheus.io/docs/guides/multi-target-exporter/), and /healthz,
// which speaks of the exporter alone. However often it is scraped, a server is
// probed no more than once in TTL. Only servers that are named beforehand are
// probed: whoever can reach the port could else make this host knock anywhere.
type Exporter struct {
	ctx     context.Context
	cached  map[string]*cached
	local   string
	version string
}

// NewExporter makes an exporter. ctx ends the runs. local is the key of the
// source behind /metrics; "" for none.
func NewExporter(ctx context.Context, sources map[string]Source, local, version string, ttl time.Duration) *Exporter {
	e := &Exporter{ctx: ctx, cached: make(map[string]*cached), local: local, version: version}
	for name, s := range sources {
		e.cached[name] = &cached{source: s, ttl: ttl, last: Metrics{Report: s.Pending}}
	}
	return e
}

// cached is a source and its last result.
type cached struct {
	source Source
	ttl    time.Duration

	mu      sync.Mutex
	last    Metrics
	runs    int
	running chan struct{} // closed when the run under way has ended; nil: none
}

// get is the last result if it is fresh, or else that of a run that is begun
// or under way. If that does not end before ctx does, it is the last result all
// the same: its time says how old it is.
func (c *cached) get(ctx, runCtx context.Context) (Metrics, int) {
	c.mu.Lock()
	if c.running == nil && (c.last.Ended.IsZero() || time.Since(c.last.Ended) >= c.ttl) && runCtx.Err() == nil {
		c.running = make(chan struct{})
		go c.run(runCtx)
	}
	running := c.running
	c.mu.Unlock()
	if running != nil {
		select {
		case <-running:
		case <-ctx.Done():
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last, c.runs
}

func (c *cached) run(ctx context.Context) {
	r := c.source.Run(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = Metrics{Report: r, Ended: time.Now()}
	c.runs++
	close(c.running)
	c.running = nil
}

// Handler serves the exporter's pages.
func (e *Exporter) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) { e.serve(w, r, e.local) })
	mux.HandleFunc("GET /probe", func(w http.ResponseWriter, r *http.Request) {
		target := r.URL.Query().Get("target")
		switch {
		case target == "":
			http.Error(w, "which target? /probe?target=NAME", http.StatusBadRequest)
		case e.cached[target] == nil:
			http.Error(w, "no such target is configured", http.StatusNotFound)
		default:
			e.serve(w, r, target)
		}
	})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "mailstack probe: /metrics, /probe?target=NAME, /healthz\n")
	})
	return mux
}

// answerMargin is what a scrape needs besides waiting.
const answerMargin = 500 * time.Millisecond

// serve answers one scrape, within the time that the scraper says it gives.
func (e *Exporter) serve(w http.ResponseWriter, r *http.Request, name string) {
	ctx := r.Context()
	if seconds, err := strconv.ParseFloat(r.Header.Get("X-Prometheus-Scrape-Timeout-Seconds"), 64); err == nil && seconds > 0 {
		limit := time.Duration(seconds * float64(time.Second))
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, max(limit-answerMargin, limit/2))
		defer cancel()
	}
	registry := prometheus.NewRegistry()
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "mailstack_build_info", Help: "1, with the version of the program.", ConstLabels: prometheus.Labels{"version": e.version},
	})
	info.Set(1)
	errs := []error{registry.Register(info)}
	if c := e.cached[name]; c != nil {
		m, runs := c.get(ctx, e.ctx)
		count := prometheus.NewCounter(prometheus.CounterOpts{
			Name: "mailstack_probe_runs_total", Help: "Runs since the exporter's start.", ConstLabels: prometheus.Labels{"stack": m.Report.Stack},
		})
		count.Add(float64(runs))
		errs = append(errs, registry.Register(m), registry.Register(count))
	}
	if err := errors.Join(errs...); err != nil {
		http.Error(w, fmt.Sprintf("gather metrics: %v", err), http.StatusInternalServerError)
		return
	}
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true}).ServeHTTP(w, r)
}

// Targets are the names that /probe takes, sorted.
func (e *Exporter) Targets() []string {
	var names []string
	for name := range e.cached {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
