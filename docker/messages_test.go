package docker

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/jsonstream"

	"mailstack/stack"
)

func TestLinesFromPieces(t *testing.T) {
	var got []string
	l := &lines{emit: func(line string) { got = append(got, line) }}
	for _, piece := range []string{"on", "e\ntwo\n\n \nth", "ree\r\n", "10%\r50%\r100%\n", "\x1b[91mred\n\x1b[0m", "caf\xe9\n", "no end"} {
		l.add(piece)
	}
	l.flush()
	l.flush()
	if diff := cmp.Diff([]string{"one", "two", "three", "100%", "red", "caf\uFFFD", "no end"}, got); diff != "" {
		t.Error(diff)
	}

	got = nil
	l.add(strings.Repeat("x", 3*maxLine))
	l.flush()
	if len(got) != 3 || len(l.part) != 0 {
		t.Errorf("an endless line became %d lines", len(got))
	}
}

func TestPullLinesSayEachThingOnce(t *testing.T) {
	var got []string
	p := newPullLines(func(line string) { got = append(got, line) })
	p.add(jsonstream.Message{ID: "slim", Status: "Pulling from library/debian"})
	for range 100 {
		p.add(jsonstream.Message{ID: "a1", Status: "Downloading", Progress: &jsonstream.Progress{Current: 1}})
		p.add(jsonstream.Message{ID: "a1", Status: "Pull complete"})
	}
	p.add(jsonstream.Message{Status: "Status: Downloaded"})
	if diff := cmp.Diff([]string{"slim: Pulling from library/debian", "a1: Pull complete", "Status: Downloaded"}, got); diff != "" {
		t.Error(diff)
	}
	newPullLines(nil).add(jsonstream.Message{Status: "nobody listens"})
}

// engineAnswering is an Engine that talks to handler instead of Docker.
func engineAnswering(t *testing.T, handler http.HandlerFunc) *Engine {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Api-Version", "1.41")
		if r.URL.Path != "/_ping" {
			handler(w, r)
		}
	}))
	t.Cleanup(server.Close)
	engine, err := Connect(t.Context(), Options{Host: "tcp://" + server.Listener.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = engine.Close() })
	return engine
}

// TestPullGivesUpOnSilence, before the first word and after.
func TestPullGivesUpOnSilence(t *testing.T) {
	for _, said := range []string{"", `{"status":"Pulling from library/debian","id":"slim"}`} {
		t.Run(said, func(t *testing.T) {
			engine := engineAnswering(t, func(w http.ResponseWriter, r *http.Request) {
				if said != "" {
					_, _ = io.WriteString(w, said)
					w.(http.Flusher).Flush()
				}
				<-r.Context().Done()
			})
			engine.firstWord, engine.nextWord = 100*time.Millisecond, 100*time.Millisecond
			err := engine.PullImage(t.Context(), "debian:slim", nil)
			if err == nil || !strings.Contains(err.Error(), "pull image debian:slim: the registry says nothing") {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestPullOfWhatIsNotThere(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"by status": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "nothing here", http.StatusNotFound) },
		"in the stream": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"errorDetail":{"code":404,"message":"nothing here"},"error":"nothing here"}`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			err := engineAnswering(t, answer).PullImage(t.Context(), "debian:slim", nil)
			if !errors.Is(err, stack.ErrNotFound) || err.Error() != "pull image debian:slim: nothing here" {
				t.Errorf("error %v", err)
			}
		})
	}
}

// TestBuildCutOff: an answer that breaks off is no successful build.
func TestBuildCutOff(t *testing.T) {
	engine := engineAnswering(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"stream":"Step 1/2 : FROM x\n"}{"stream":"half`)
	})
	err := engine.BuildImage(t.Context(), stack.BuildSpec{Ref: "x:1", Context: strings.NewReader("")}, nil)
	var failed *BuildError
	if !errors.As(err, &failed) || failed.Step != "Step 1/2 : FROM x" {
		t.Errorf("error %v", err)
	}
}

func TestBuildErrorCarriesTheFailingStepOnly(t *testing.T) {
	var got []string
	o := &buildOutput{progress: func(line string) { got = append(got, line) }}
	for _, line := range []string{
		"Step 1/2 : FROM x", " ---> 1234", "early",
		"Step 2/2 : RUN y", " ---> Running in 5678", "why", "Removing intermediate container 5678",
	} {
		o.line(line)
	}
	if diff := cmp.Diff([]string{"Step 1/2 : FROM x", "early", "Step 2/2 : RUN y", "why"}, got); diff != "" {
		t.Error("progress:", diff)
	}
	err := &BuildError{Ref: "i:1", Step: o.step, Output: o.last, Err: errors.New("exit 7")}
	if want := "build image i:1: Step 2/2 : RUN y: exit 7\n    why"; err.Error() != want {
		t.Errorf("error %q, want %q", err, want)
	}
	for range 100 {
		o.line("more")
	}
	if len(o.last) != buildErrorLines {
		t.Errorf("%d lines kept", len(o.last))
	}
}
