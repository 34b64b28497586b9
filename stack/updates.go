package stack

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
)

// Updates asks, for every image of the stack, which of its packages have a
// newer candidate: lines "name installed candidate", by service. Each image is
// asked in a container of its own that has a network and nothing of the stack.
func Updates(ctx context.Context, e Engine, d *Desired) (map[string][]string, error) {
	var mu sync.Mutex
	updates := map[string][]string{}
	g, gctx := errgroup.WithContext(ctx)
	for _, w := range d.Images {
		g.Go(func() error {
			out, err := runImage(gctx, e, ContainerSpec{
				Name: ContainerName(d.Name, w.Service) + "-updates", Image: w.Ref, User: "0:0",
				Labels:     map[string]string{LabelStack: d.Name, LabelID: d.ID},
				Entrypoint: []string{UpdatesCmd}, Network: "bridge",
				Tmpfs:        []Tmpfs{{Target: "/tmp", Options: "size=512m,mode=1777"}},
				Capabilities: []string{"SETUID", "SETGID", "CHOWN", "FOWNER", "DAC_OVERRIDE"},
				PidsLimit:    64, MemoryBytes: 768 * mebi, LogBytes: mebi, LogFiles: 1,
			})
			if err != nil {
				return fmt.Errorf("look for updates of %s: %w", w.Service, err)
			}
			mu.Lock()
			defer mu.Unlock()
			updates[w.Service] = strings.Split(strings.TrimSpace(out), "\n")
			if strings.TrimSpace(out) == "" {
				updates[w.Service] = nil
			}
			return nil
		})
	}
	return updates, g.Wait()
}
