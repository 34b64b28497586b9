package docker_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"mailstack/stack"
)

func TestExec(t *testing.T) {
	engine := connectWithBox(t)
	spec := newSpec("stay")
	start(t, engine, spec)
	const mebibyte = 1 << 20

	for _, c := range []struct {
		name string
		exec stack.ExecSpec
		want stack.ExecResult
	}{
		{
			"both outputs",
			stack.ExecSpec{Command: []string{"/box", "print-to-both"}},
			stack.ExecResult{Stdout: []byte("to stdout\n"), Stderr: []byte("to stderr\n")},
		},
		{
			"exit code",
			stack.ExecSpec{Command: []string{"/box", "exit", "3"}},
			stack.ExecResult{ExitCode: 3, Stderr: []byte("exiting with 3\n")},
		},
		{
			"an argument is an argument",
			stack.ExecSpec{Command: []string{"/box", "print", "a b; $HOME 'c'"}},
			stack.ExecResult{Stdout: []byte("a b; $HOME 'c'\n")},
		},
		{
			"input to its end",
			stack.ExecSpec{Command: []string{"/box", "cat"}, Stdin: strings.NewReader(strings.Repeat("y", mebibyte))},
			stack.ExecResult{Stdout: bytes.Repeat([]byte("y"), mebibyte)},
		},
		{
			"empty input",
			stack.ExecSpec{Command: []string{"/box", "cat"}, Stdin: strings.NewReader("")},
			stack.ExecResult{},
		},
		{
			"no input",
			stack.ExecSpec{Command: []string{"/box", "cat"}},
			stack.ExecResult{},
		},
		{
			"input that nobody reads",
			stack.ExecSpec{Command: []string{"/box", "print", "done"}, Stdin: strings.NewReader(strings.Repeat("y", 32*mebibyte))},
			stack.ExecResult{Stdout: []byte("done\n")},
		},
		{
			"output beyond the bound",
			stack.ExecSpec{Command: []string{"/box", "spew", "5000000"}},
			stack.ExecResult{Stdout: bytes.Repeat([]byte("x"), mebibyte)},
		},
		{
			"a command that closes its output first",
			stack.ExecSpec{Command: []string{"/box", "detach", "5"}},
			stack.ExecResult{ExitCode: 5},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := engine.Exec(t.Context(), spec.Name, c.exec)
			if err != nil {
				t.Fatal(err)
			}
			if got.ExitCode != c.want.ExitCode || !bytes.Equal(got.Stdout, c.want.Stdout) || !bytes.Equal(got.Stderr, c.want.Stderr) {
				t.Errorf("exit code %d, %d bytes %.80q, %d bytes %.80q", got.ExitCode, len(got.Stdout), got.Stdout, len(got.Stderr), got.Stderr)
			}
		})
	}
}

// TestExecStdout: a writer of the caller's gets all there is, and can end it.
func TestExecStdout(t *testing.T) {
	engine := connectWithBox(t)
	spec := newSpec("stay")
	start(t, engine, spec)
	const size = 5000000
	var all bytes.Buffer
	result, err := engine.Exec(t.Context(), spec.Name, stack.ExecSpec{Command: []string{"/box", "spew", "5000000"}, Stdout: &all})
	if err != nil || result.ExitCode != 0 || all.Len() != size || len(result.Stdout) != 0 {
		t.Errorf("%d bytes written, %d returned, exit code %d, %v", all.Len(), len(result.Stdout), result.ExitCode, err)
	}
	out, in := io.Pipe()
	enough := errors.New("enough")
	out.CloseWithError(enough)
	if _, err := engine.Exec(t.Context(), spec.Name, stack.ExecSpec{Command: []string{"/box", "spew", "5000000"}, Stdout: in}); !errors.Is(err, enough) {
		t.Errorf("a writer that has enough: %v", err)
	}
}

func TestExecUser(t *testing.T) {
	engine := connectWithBox(t)
	spec := newSpec("stay")
	start(t, engine, spec)
	result, err := engine.Exec(t.Context(), spec.Name, stack.ExecSpec{Command: []string{"/box", "show", "/proc/self/status"}, User: "5302:5303"})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Uid:\t5302\t", "Gid:\t5303\t"} {
		if !strings.Contains(string(result.Stdout), want) {
			t.Errorf("no %q in\n%s", want, result.Stdout)
		}
	}
}

// TestExecExitCodeIsNeverEarly: the end of the output and the exit code reach
// the engine separately; many quick commands would show a code read too early.
func TestExecExitCodeIsNeverEarly(t *testing.T) {
	engine := connectWithBox(t)
	spec := newSpec("stay")
	start(t, engine, spec)
	for range 20 {
		result, err := engine.Exec(t.Context(), spec.Name, stack.ExecSpec{Command: []string{"/box", "exit", "9"}})
		if err != nil || result.ExitCode != 9 {
			t.Fatalf("exit code %d, %v", result.ExitCode, err)
		}
	}
}

func TestExecThatCannotRun(t *testing.T) {
	engine := connectWithBox(t)
	spec := newSpec("stay")
	create(t, engine, spec)
	_, err := engine.Exec(t.Context(), spec.Name, stack.ExecSpec{Command: []string{"/box", "print", "x"}})
	if !errors.Is(err, stack.ErrConflict) {
		t.Errorf("in a container that does not run: %v", err)
	}
	if err := engine.StartContainer(t.Context(), spec.Name); err != nil {
		t.Fatal(err)
	}
	result, err := engine.Exec(t.Context(), spec.Name, stack.ExecSpec{Command: []string{"/no/such/program"}})
	if err != nil || (result.ExitCode != 126 && result.ExitCode != 127) {
		t.Errorf("a program that is not there: exit code %d, %v", result.ExitCode, err)
	}
}

type brokenReader struct{ err error }

func (r brokenReader) Read([]byte) (int, error) { return 0, r.err }

// TestExecInputFails: half an input must not pass for a whole one.
func TestExecInputFails(t *testing.T) {
	engine := connectWithBox(t)
	spec := newSpec("stay")
	start(t, engine, spec)
	broken := errors.New("disk on fire")
	_, err := engine.Exec(t.Context(), spec.Name, stack.ExecSpec{
		Command: []string{"/box", "cat"},
		Stdin:   io.MultiReader(strings.NewReader("half"), brokenReader{broken}),
	})
	if !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
}

func TestExecEndsWithContext(t *testing.T) {
	engine := connectWithBox(t)
	spec := newSpec("stay")
	start(t, engine, spec)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err := engine.Exec(ctx, spec.Name, stack.ExecSpec{Command: []string{"/box", "stay"}})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("took %s", took)
	}
}

func TestWait(t *testing.T) {
	engine := connectWithBox(t)
	spec := newSpec("exit", "7")
	start(t, engine, spec)
	if code, err := engine.WaitContainer(t.Context(), spec.Name); code != 7 || err != nil {
		t.Errorf("exit code %d, %v", code, err)
	}

	long := newSpec("stay")
	start(t, engine, long)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := engine.WaitContainer(ctx, long.Name); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting for one that stays: %v", err)
	}
}

func TestLogs(t *testing.T) {
	engine := connectWithBox(t)
	both := newSpec("print-to-both")
	start(t, engine, both)
	if _, err := engine.WaitContainer(t.Context(), both.Name); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	if err := engine.Logs(t.Context(), both.Name, stack.LogSpec{}, &stdout, &stderr); err != nil {
		t.Fatal(err)
	}
	if stdout.String() != "to stdout\n" || stderr.String() != "to stderr\n" {
		t.Errorf("stdout %q, stderr %q", stdout.String(), stderr.String())
	}
	stdout.Reset()
	if err := engine.Logs(t.Context(), both.Name, stack.LogSpec{Since: time.Now().Add(time.Hour)}, &stdout, nil); err != nil || stdout.Len() > 0 {
		t.Errorf("since the future: %q, %v", stdout.String(), err)
	}
}

func TestLogsTailAndFollow(t *testing.T) {
	engine := connectWithBox(t)
	spec := newSpec("count", "10")
	start(t, engine, spec)

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	followed := &untilWriter{want: "line 9\n", found: cancel}
	if err := engine.Logs(ctx, spec.Name, stack.LogSpec{Follow: true}, followed, nil); err != nil {
		t.Errorf("following until the context ended: %v", err)
	}
	if !strings.HasPrefix(followed.String(), "line 0\n") || !strings.HasSuffix(followed.String(), "line 9\n") {
		t.Errorf("followed %q", followed.String())
	}

	var tail bytes.Buffer
	if err := engine.Logs(t.Context(), spec.Name, stack.LogSpec{Tail: 2}, &tail, nil); err != nil {
		t.Fatal(err)
	}
	if tail.String() != "line 8\nline 9\n" {
		t.Errorf("last two lines %q", tail.String())
	}
}
