package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// units are what a size may be given in, smallest first.
var units = []struct {
	name  string
	bytes int64
}{
	{"B", 1},
	{"kB", 1e3},
	{"MB", 1e6},
	{"GB", 1e9},
	{"TB", 1e12},
	{"KiB", kib},
	{"MiB", mib},
	{"GiB", gib},
	{"TiB", 1 << 40},
}

const sizeExample = `allowed is a whole number of bytes or of kB, MB, GB, TB, KiB, MiB, GiB or TiB, like "50MiB"`

// ParseSize reads "50MiB", "1 GB" or "1048576" as bytes. Letters may be large
// or small; "50M" is refused, since it means both.
func ParseSize(s string) (int64, error) {
	digits := len(s) - len(strings.TrimLeft(s, "0123456789"))
	unit := strings.TrimLeft(s[digits:], " ")
	n, err := strconv.ParseInt(s[:digits], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is not a size: %s", s, sizeExample)
	}
	if unit == "" {
		return n, nil
	}
	for _, u := range units {
		if !strings.EqualFold(u.name, unit) {
			continue
		}
		if n > math.MaxInt64/u.bytes {
			return 0, fmt.Errorf("%q is too large: %s", s, sizeExample)
		}
		return n * u.bytes, nil
	}
	return 0, fmt.Errorf("%q is not a size: %s", s, sizeExample)
}

// formatSize writes bytes in the largest unit that divides them, so that
// ParseSize gives the same number back.
func formatSize(n int64) string {
	if n == 0 {
		return "0"
	}
	best := units[0]
	for _, u := range units {
		if n%u.bytes == 0 && u.bytes > best.bytes {
			best = u
		}
	}
	return strconv.FormatInt(n/best.bytes, 10) + best.name
}

func parseDuration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf(`%q is not a time: allowed is a number with its unit, like "90s" or "2m"`, s)
	}
	return d, nil
}

// formatDuration writes whole seconds as such: "60s", where Go says "1m0s".
func formatDuration(d time.Duration) string {
	if d%time.Second == 0 {
		return strconv.FormatInt(int64(d/time.Second), 10) + "s"
	}
	return d.String()
}
