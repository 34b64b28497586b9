package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/client"

	"mailstack/stack"
)

const (
	// execOutputBytes bounds what is kept of each output of a command. The rest
	// is read and dropped, or the command would block.
	execOutputBytes = 1 << 20

	// execEndTimeout bounds the time between the end of a command's output and
	// its end. It is usually a few milliseconds.
	execEndTimeout = 30 * time.Second
)

// Exec runs a command in a running container. A command that cannot be executed
// has run as far as the engine is concerned: its exit code is 126 or 127, as in
// a shell. A container that does not run is stack.ErrConflict.
//
// When ctx ends Exec returns at once; the command goes on, with its input and
// output closed. Stdin is read until its end, but not waited for after the
// command's.
func (e *Engine) Exec(ctx context.Context, name string, spec stack.ExecSpec) (stack.ExecResult, error) {
	doing := "run a command in container " + name
	if len(spec.Command) > 0 {
		doing = fmt.Sprintf("run %s in container %s", spec.Command[0], name)
	}
	created, err := e.client.ExecCreate(ctx, name, client.ExecCreateOptions{
		Cmd:          spec.Command,
		User:         spec.User,
		AttachStdin:  spec.Stdin != nil,
		AttachStdout: true,
		AttachStderr: true,
	})
	if err != nil {
		return stack.ExecResult{}, e.fail(doing, err)
	}
	stdout, stderr := &head{limit: execOutputBytes}, &head{limit: execOutputBytes}
	var to io.Writer = stdout
	if spec.Stdout != nil {
		to = spec.Stdout
	}
	if err := e.attach(ctx, created.ID, spec.Stdin, to, stderr); err != nil {
		return stack.ExecResult{}, e.fail(doing, err)
	}
	code, err := e.exitCode(ctx, created.ID)
	if err != nil {
		return stack.ExecResult{}, e.fail(doing, err)
	}
	return stack.ExecResult{ExitCode: code, Stdout: stdout.bytes, Stderr: stderr.bytes}, nil
}

// attach starts the command and carries its input and output until the latter
// ends.
func (e *Engine) attach(ctx context.Context, id string, stdin io.Reader, stdout, stderr io.Writer) error {
	attached, err := e.client.ExecAttach(ctx, id, client.ExecAttachOptions{})
	if err != nil {
		return err
	}
	defer attached.Close()
	stop := context.AfterFunc(ctx, attached.Close)
	defer stop()

	inputFailed := make(chan error, 1)
	if stdin != nil {
		go func() {
			input := &input{reader: stdin}
			// An error of the writing end is no error: a command may end
			// without reading its input.
			_, _ = io.Copy(attached.Conn, input)
			if input.err != nil {
				// Closing only the input would look to the command like its
				// end, with what is missing cut off.
				inputFailed <- input.err
				attached.Close()
				return
			}
			_ = attached.CloseWrite()
		}()
	}

	_, err = stdcopy.StdCopy(stdout, stderr, attached.Reader)
	select {
	case inputErr := <-inputFailed:
		return fmt.Errorf("read the command's input: %w", inputErr)
	default:
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	// The engine closed the connection with input in it that nobody read: what
	// is ECONNRESET on a socket is the end of the output here.
	if stdin != nil && errors.Is(err, syscall.ECONNRESET) {
		return nil
	}
	return err
}

// exitCode returns how a command ended whose output has ended. The engine hears
// of the two separately and offers no call that waits for the second, hence the
// ticker.
func (e *Engine) exitCode(ctx context.Context, id string) (int, error) {
	deadline := time.NewTimer(execEndTimeout)
	defer deadline.Stop()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for {
		state, err := e.client.ExecInspect(ctx, id, client.ExecInspectOptions{})
		if err != nil {
			return 0, err
		}
		if !state.Running {
			return state.ExitCode, nil
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-deadline.C:
			return 0, fmt.Errorf("process %d closed its output and still runs after %s", state.PID, execEndTimeout)
		case <-ticker.C:
		}
	}
}

// head keeps the first bytes written to it.
type head struct {
	limit int
	bytes []byte
}

func (h *head) Write(p []byte) (int, error) {
	if room := h.limit - len(h.bytes); room > 0 {
		h.bytes = append(h.bytes, p[:min(room, len(p))]...)
	}
	return len(p), nil
}

// input remembers the error of a reader, which io.Copy mixes with the writer's.
type input struct {
	reader io.Reader
	err    error
}

func (i *input) Read(p []byte) (int, error) {
	n, err := i.reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		i.err = err
	}
	return n, err
}
