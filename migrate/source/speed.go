package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"mailstack/migrate/remote"
)

// The sample that Speed reads: enough to get beyond TCP's slow start, and no more
// than a slow line carries in the time that somebody waits for a preflight.
const (
	speedOctets = 32 << 20
	speedTime   = 3 * time.Second
)

// Speed measures how many octets a second one connection brings from the old
// server, by reading zeros of no file for three seconds at most.
func Speed(ctx context.Context, host *remote.Host) (octetsPerSecond float64, err error) {
	// What would go on for too long is ended; that is no failure.
	limited, cancel := context.WithTimeout(ctx, speedTime)
	defer cancel()
	stream, err := host.Command(limited, "head", "-c", fmt.Sprint(speedOctets), "/dev/zero").Stream()
	if err != nil {
		return 0, fmt.Errorf("measure the speed of ssh: %w", err)
	}
	defer stream.Close()
	var first [1]byte // the login shell's start does not count
	if _, err := io.ReadFull(stream, first[:]); err != nil {
		return 0, fmt.Errorf("measure the speed of ssh: %w", err)
	}
	began := time.Now()
	n, err := io.Copy(io.Discard, stream)
	took := time.Since(began)
	if n == 0 {
		return 0, errors.Join(fmt.Errorf("measure the speed of ssh: nothing came within %v", speedTime), err)
	}
	return float64(n) / max(took, time.Microsecond).Seconds(), nil
}
