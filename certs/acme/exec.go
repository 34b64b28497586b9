package acme

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/go-acme/lego/v5/challenge"
	"github.com/go-acme/lego/v5/challenge/dns01"
	"github.com/go-acme/lego/v5/platform/env"
)

// program sets records with a program of the user's: the way to any service.
// Its arguments are "present" or "cleanup", the record's full name with the dot
// at the end, and the value, as the library's provider of the same name has them.
// Unlike that one it keeps what the program printed for the error.
type program struct {
	path        string
	environment []string
	pause       time.Duration

	timeout, interval time.Duration
}

// programTimeout bounds one run of the program.
const programTimeout = 5 * time.Minute

func newExec() (challenge.Provider, error) {
	values, err := env.Get("EXEC_PATH")
	if err != nil {
		return nil, err
	}
	return &program{
		path:        values["EXEC_PATH"],
		environment: os.Environ(), // with the settings of the file
		pause:       env.GetOrDefaultSecond("EXEC_SEQUENCE_INTERVAL", dns01.DefaultPropagationTimeout),
		timeout:     env.GetOrDefaultSecond("EXEC_PROPAGATION_TIMEOUT", dns01.DefaultPropagationTimeout),
		interval:    env.GetOrDefaultSecond("EXEC_POLLING_INTERVAL", dns01.DefaultPollingInterval),
	}, nil
}

// Timeout implements [challenge.ProviderTimeout].
func (p *program) Timeout() (timeout, interval time.Duration) { return p.timeout, p.interval }

// Sequential says that such programs can hold one value of a name at a time.
func (p *program) Sequential() time.Duration { return p.pause }

// Present implements [challenge.Provider].
func (p *program) Present(ctx context.Context, domain, _, keyAuth string) error {
	return p.run(ctx, "present", domain, keyAuth)
}

// CleanUp implements [challenge.Provider].
func (p *program) CleanUp(ctx context.Context, domain, _, keyAuth string) error {
	return p.run(ctx, "cleanup", domain, keyAuth)
}

func (p *program) run(ctx context.Context, action, domain, keyAuth string) error {
	ctx, cancel := context.WithTimeout(ctx, programTimeout)
	defer cancel()
	info := dns01.GetChallengeInfo(ctx, domain, keyAuth)
	cmd := exec.CommandContext(ctx, p.path, action, info.EffectiveFQDN, info.Value)
	cmd.Env = p.environment
	cmd.WaitDelay = 5 * time.Second
	output, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("run %s %s %s: %w%s", p.path, action, info.EffectiveFQDN, err, lastLine(string(output)))
	}
	return nil
}

// lastLine is the end of what a program printed, which most often is the error.
func lastLine(output string) string {
	const most = 200
	lines := strings.Split(strings.TrimSpace(output), "\n")
	line := strings.TrimSpace(lines[len(lines)-1])
	if line == "" {
		return ""
	}
	if len(line) > most {
		line = line[:most] + "…"
	}
	return ": " + line
}
