package probe

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

func scrape(t *testing.T, url string, header ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, url, nil)
	must(t, err)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	must(t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	must(t, err)
	return res.StatusCode, string(body)
}

func TestExporter(t *testing.T) {
	t.Parallel()
	var runs atomic.Int32
	broken := atomic.Bool{}
	sent := func(err error) Report {
		return newReport("home", []Result{outcome{name: "delivery.submission", finished: finished{err: err, took: 1e9}}.result(&Target{}, Options{}.withDefaults())}, time.Second)
	}
	release := make(chan struct{})
	home := Source{Pending: newReport("home", []Result{newResult("delivery.submission", failf(KindNotRun, ""), nil, 0)}, 0), Run: func(context.Context) Report {
		runs.Add(1)
		<-release
		if broken.Load() {
			return sent(failf(KindLost, "gone"))
		}
		return sent(nil)
	}}
	e := NewExporter(context.Background(), map[string]Source{"home": home}, "home", "1.2", time.Minute)
	server := httptest.NewServer(e.Handler())
	defer server.Close()

	const series = `mailstack_probe_check_success{check="delivery.submission",stack="home"} `
	// Before the first success: the series is there, and the scrape is answered
	// in the time that the scraper gives.
	code, body := scrape(t, server.URL+"/metrics", "X-Prometheus-Scrape-Timeout-Seconds", "0.2")
	if code != 200 || !strings.Contains(body, series+"0\n") || !strings.Contains(body, `mailstack_build_info{version="1.2"} 1`) {
		t.Errorf("before the first run: %d\n%s", code, body)
	}
	close(release)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, body := scrape(t, server.URL+"/probe?target=home"); !strings.Contains(body, series+"1\n") {
				t.Errorf("after the run:\n%s", body)
			}
		})
	}
	wg.Wait()
	if n := runs.Load(); n != 1 {
		t.Errorf("%d runs for 21 scrapes", n)
	}
	problems, err := promlint.New(strings.NewReader(body)).Lint()
	must(t, err)
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}

	e.cached["home"].ttl = 0
	broken.Store(true)
	if _, body = scrape(t, server.URL+"/metrics"); !strings.Contains(body, series+"0\n") || !strings.Contains(body, `mailstack_probe_runs_total{stack="home"} 2`) {
		t.Errorf("when sending fails:\n%s", body)
	}
	for path, want := range map[string]int{"/healthz": 200, "/": 200, "/probe": 400, "/probe?target=10.0.0.1": 404, "/nothing": 404} {
		if code, body := scrape(t, server.URL+path); code != want {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
}
