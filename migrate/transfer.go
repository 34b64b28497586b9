package migrate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// fileCost is what a file costs beyond its octets, in octets: measured over a
// local ssh, the time for a small file is that for 16 KiB of a large one.
const fileCost = 16 << 10

// What one rsync is given. Small enough for all connections to be busy until the
// end, large enough for its start (about 0.1 s) not to count. Names are few, as
// rsync compares each name that it is sent with all that it asked for.
const (
	minChunk  = 64 << 20 // cost
	maxChunk  = 2 << 30  // cost
	perWorker = 8        // chunks
	maxNames  = 2000
	// minWhole is from how many files on a directory is copied whole, which is
	// faster than by names (0.07 ms a file instead of 0.1).
	minWhole = 500
)

// chunk is what one rsync copies.
type chunk struct {
	dir   string // in the mirror, and at the same path on the old server
	whole bool   // all files in dir; else those that are named
	files []item
	cost  int64
}

func (c *chunk) add(f item) {
	c.files = append(c.files, f)
	c.cost += f.size + fileCost
}

// chunks cuts files into chunks, the costliest first. Files of a directory stay
// together as far as possible, which spares both file systems. kept is how many
// files of a directory need not be copied.
func chunks(files []item, kept map[string]int, workers int) []chunk {
	slices.SortFunc(files, func(a, b item) int { return cmp.Compare(a.path, b.path) })
	var total int64
	for _, f := range files {
		total += f.size + fileCost
	}
	size := min(max(total/int64(workers*perWorker), minChunk), maxChunk)
	// However little there is, everybody gets a share of it.
	size = min(size, total/int64(workers)+1)
	var all []chunk
	var named chunk
	end := func() {
		if len(named.files) > 0 {
			named.dir = commonDir(named.files)
			all = append(all, named)
		}
		named = chunk{}
	}
	for len(files) > 0 {
		dir, _ := cutLast(files[0].path)
		n := 1
		for n < len(files) && inDir(files[n].path, dir) {
			n++
		}
		if n >= minWhole && n >= kept[dir] && isMessagePath(files[0].path) && isPlain(dir) {
			whole := chunk{dir: dir, whole: true}
			for _, f := range files[:n] {
				whole.add(f)
			}
			all = append(all, whole)
		} else {
			for _, f := range files[:n] {
				if named.add(f); named.cost >= size || len(named.files) >= maxNames {
					end()
				}
			}
		}
		files = files[n:]
	}
	end()
	slices.SortStableFunc(all, func(a, b chunk) int { return cmp.Compare(b.cost, a.cost) })
	return all
}

func inDir(p, dir string) bool {
	parent, _ := cutLast(p)
	return parent == dir
}

// commonDir is the longest plain path that all files are below.
func commonDir(files []item) string {
	first, last := files[0].path, files[len(files)-1].path // sorted
	common := 0
	for i := 0; i < len(first) && i < len(last) && first[i] == last[i]; i++ {
		if first[i] == '/' {
			common = i
		}
	}
	dir := first[:common]
	for !isPlain(dir) {
		dir, _ = cutLast(dir)
	}
	return dir
}

// isPlain says whether rsync takes a path for what it is, and no pattern.
func isPlain(p string) bool {
	return !strings.ContainsFunc(p, func(r rune) bool { return r < ' ' || r == 0x7f || strings.ContainsRune(`*?[]\`, r) })
}

// retries are the pauses before a chunk is tried again after the connection broke.
var retries = []time.Duration{time.Second, 10 * time.Second, time.Minute}

// copyAll copies files into the mirror, by several rsync at once. What cannot be
// copied does not keep the rest from it.
func (c *copier) copyAll(ctx context.Context, all []chunk, workers int, meter *meter) error {
	var failed atomic.Pointer[error]
	err := forEachSlot(ctx, workers, grouped(all, workers), func(ctx context.Context, slot int, group []chunk) error {
		err := c.copyGroup(ctx, slot, group, meter)
		var partial *RsyncError
		if errors.As(err, &partial) && partial.Status == statusPartial {
			failed.CompareAndSwap(nil, &err)
			return nil
		}
		return err
	})
	if first := failed.Load(); err == nil && first != nil {
		err = *first
	}
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("copy mail from %s: %w", c.from.Target(), err)
	}
	return err
}

// grouped puts chunks together, in their order, whose directories are looked at
// together: a look costs what copying some hundred small messages does.
func grouped(all []chunk, workers int) (groups [][]chunk) {
	var total, cost int64
	for _, k := range all {
		total += k.cost
	}
	size := min(total/int64(workers)+1, minChunk)
	for _, k := range all {
		if len(groups) == 0 || cost+k.cost > size {
			groups, cost = append(groups, nil), 0
		}
		last := len(groups) - 1
		groups[last] = append(groups[last], k)
		cost += k.cost
	}
	return groups
}

// copyGroup copies chunks, and proves what can be proven of them without reading it
// again. Where nobody could look at the directories, nothing is proven. A chunk that
// could be copied in part does not keep the others from being copied.
func (c *copier) copyGroup(ctx context.Context, slot int, group []chunk, meter *meter) error {
	var dirs []string
	for _, k := range group {
		dirs = append(dirs, k.dirs()...)
	}
	before, _ := look(ctx, c.from, slot, dirs)
	var failed error
	for _, k := range group {
		err := c.copyPatiently(ctx, slot, k, meter)
		var partial *RsyncError
		if errors.As(err, &partial) && partial.Status == statusPartial {
			failed = err
		} else if err != nil {
			return err
		}
	}
	after, _ := look(ctx, c.from, slot, dirs)
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, k := range group {
		if err := c.prove(k, before, after); err != nil {
			return err
		}
	}
	return failed
}

// copyPatiently copies a chunk, again where the connection broke.
func (c *copier) copyPatiently(ctx context.Context, slot int, k chunk, meter *meter) error {
	for try := 0; ; try++ {
		var got Amount
		err := c.copy(ctx, slot, k, func(a Amount) {
			got.add(a)
			meter.copied(a)
		})
		var lost *RsyncError
		if !errors.As(err, &lost) || !lost.lost() || try == len(c.retries) {
			return err
		}
		meter.copied(Amount{-got.Messages, -got.Bytes})
		timer := time.NewTimer(c.retries[try])
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
	}
}
