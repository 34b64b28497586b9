package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets the scripts run this very program as the command mailstack.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"mailstack": func() {
			os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
		},
	})
}

// TestScripts runs testdata/script/*.txtar: the command line as a user types
// it, without an engine.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: false,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			// No engine: what needs one must say so in one line.
			env.Setenv("DOCKER_HOST", "unix://"+env.WorkDir+"/no-engine.sock")
			return nil
		},
	})
}

func TestFlagsThatCannotBe(t *testing.T) {
	for line, want := range map[string]string{
		"logs --tail -5":              "--tail -5: allowed is 0 (all) or more",
		"logs --since -5m":            "--since -5m0s: allowed is how long ago",
		"systemd --install --remove":  "--install and --remove exclude each other",
		"cert trust --print --remove": "--print and --remove exclude each other",
	} {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), strings.Fields(line), strings.NewReader(""), &stdout, &stderr)
		if code != exitUsage || !strings.Contains(stderr.String(), want) {
			t.Errorf("%s: code %d, %q, want %q", line, code, stderr.String(), want)
		}
	}
}
