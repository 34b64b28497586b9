package source

import (
	"testing"
	"time"
)

func TestSpeed(t *testing.T) {
	t.Parallel()
	// Half the sample, and then nothing more for longer than anybody waits.
	slow := newHost(t, map[string]string{"head": "/usr/bin/head -c 16777216 /dev/zero; exec sleep 60"})
	began := time.Now()
	speed, err := Speed(t.Context(), slow)
	if most := float64(16<<20) / 1; err != nil || speed <= 0 || speed > most {
		t.Errorf("%.0f octets a second (%v), want at most %.0f", speed, err, most)
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("it took %v", took)
	}
	if speed, err := Speed(t.Context(), newHost(t, nil)); err != nil || speed <= 0 {
		t.Errorf("%f, %v", speed, err)
	}
	for _, script := range []string{"exit 1", "printf x"} {
		if speed, err := Speed(t.Context(), newHost(t, map[string]string{"head": script})); err == nil {
			t.Errorf("%s: %f octets a second", script, speed)
		}
	}
}
