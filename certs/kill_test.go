package certs

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mailstack/certs/certstest"
)

// renewForever makes the test program, started again by TestKilled, renew until
// it is killed.
const renewForever = "MAILSTACK_TEST_RENEW_FOREVER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(renewForever); dir != "" {
		// Names that change each time make a new CA each time as well.
		for round := 0; ; round++ {
			s := local(dir, Names{Hostname: string(rune('a'+round%26)) + ".example.org"})
			if round%3 > 0 { // comes and goes
				s.Extra = []string{filepath.Join(filepath.Dir(dir), "extra.pem")}
			}
			_, err := s.Renew(context.Background(), start, Anyway)
			if round%2 > 0 && err == nil { // else it stays pending
				err = s.Commit()
			}
			if err != nil {
				os.Stderr.WriteString(err.Error())
				os.Exit(1)
			}
		}
	}
	os.Exit(m.Run())
}

// TestKilled kills a renewing process at points it does not choose. Each time
// the next run must find whole files or none, and end well.
func TestKilled(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	certstest.New(t, start).Write(t, filepath.Join(filepath.Dir(dir), "extra.pem"), "ecdsa", "mail.example.com")
	leftovers, waiting := 0, 0
	for round := range 30 {
		child := exec.CommandContext(t.Context(), os.Args[0])
		child.Env = append(os.Environ(), renewForever+"="+dir)
		var stderr strings.Builder
		child.Stderr = &stderr
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		// The moment is the test: a little later in each round.
		timer := time.AfterFunc(time.Duration(10+round*2)*time.Millisecond, func() { _ = child.Process.Kill() })
		_ = child.Wait()
		timer.Stop()
		if stderr.Len() > 0 {
			t.Fatalf("round %d: %s", round, stderr.String())
		}

		if _, err := os.Stat(dir); err != nil {
			continue // killed before its first step
		}
		if state := inspect(t, dir, example, start); len(state.Problems) > 0 {
			t.Fatalf("round %d left %v", round, state.Problems)
		} else if state.Pending != nil {
			waiting++
		}
		leftovers += len(temporaries(t, dir))
		state := renew(t, dir, example, start, false)
		if state.Leaf == nil || len(state.Problems) > 0 {
			t.Fatalf("round %d did not heal: %v", round, state.Problems)
		}
		if left := temporaries(t, dir); len(left) > 0 {
			t.Fatalf("round %d: not swept: %v", round, left)
		}
	}
	t.Logf("%d temporary files were left behind and swept, %d certificates were pending", leftovers, waiting)
}

func temporaries(t *testing.T, dir string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, ".*"+temporaryMark+"*"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestInterruptedBetweenFiles walks through every state between two renames.
func TestInterruptedBetweenFiles(t *testing.T) {
	t.Run("only the CA's key", func(t *testing.T) {
		dir, first := renewed(t, example)
		remove(t, first.File, filepath.Join(dir, AuthorityFile))
		healed(t, dir, first)
	})
	t.Run("no leaf", func(t *testing.T) {
		dir, first := renewed(t, example)
		remove(t, first.File)
		healed(t, dir, first)
	})
	t.Run("new CA, old copy, old leaf", func(t *testing.T) {
		dir, _ := renewed(t, example)
		other, second := renewed(t, example)
		if err := os.Rename(filepath.Join(other, AuthorityKeyFile), filepath.Join(dir, AuthorityKeyFile)); err != nil {
			t.Fatal(err)
		}
		healed(t, dir, second)
	})
	t.Run("temporary files", func(t *testing.T) {
		dir, first := renewed(t, example)
		for _, name := range []string{".server.pem" + temporaryMark + "X", ".ca.key" + temporaryMark + "Y"} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte("half"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		healed(t, dir, first)
	})
}

func remove(t *testing.T, paths ...string) {
	t.Helper()
	for _, path := range paths {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// healed renews and compares the CA with the one that must have survived.
func healed(t *testing.T, dir string, want State) {
	t.Helper()
	state := renew(t, dir, example, start, false)
	if state.Authority.Fingerprint != want.Authority.Fingerprint {
		t.Error("another CA")
	}
	copied := certificates(t, filepath.Join(dir, AuthorityFile))[0]
	if fingerprint(copied) != want.Authority.Fingerprint {
		t.Error("ca.pem is another CA")
	}
	if err := certificates(t, state.File)[0].CheckSignatureFrom(copied); err != nil {
		t.Error(err)
	}
	if left := temporaries(t, dir); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}
