package docker

import (
	"context"
	"io"
	"strings"

	"github.com/moby/moby/api/types/build"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/client"

	"mailstack/stack"
)

// BuildError is a build that failed.
type BuildError struct {
	Ref    string
	Step   string   // the step that failed, "Step 3/9 : RUN apt-get update"; empty: before the first
	Output []string // its last lines, at most 15
	Err    error
}

// Error is one line that says what failed, and below it, indented, the last
// lines of the output.
func (e *BuildError) Error() string {
	var b strings.Builder
	b.WriteString("build image " + e.Ref + ": ")
	if e.Step != "" {
		b.WriteString(e.Step + ": ")
	}
	b.WriteString(reason(e.Err))
	for _, line := range e.Output {
		b.WriteString("\n    " + line)
	}
	return b.String()
}

func (e *BuildError) Unwrap() error { return e.Err }

// buildErrorLines is how much of the output a BuildError keeps.
const buildErrorLines = 15

// BuildImage builds an image with the classic builder; see BuildError. The
// error is no *BuildError if ctx ended or the engine went away.
func (e *Engine) BuildImage(ctx context.Context, spec stack.BuildSpec, progress func(line string)) error {
	args := make(map[string]*string, len(spec.Args))
	for name, value := range spec.Args {
		args[name] = &value
	}
	output := &buildOutput{progress: progress, pull: newPullLines(progress)}
	err := e.build(ctx, spec.Context, client.ImageBuildOptions{
		Tags:        []string{spec.Ref},
		BuildArgs:   args,
		Labels:      spec.Labels,
		NoCache:     spec.NoCache,
		Remove:      true,
		ForceRemove: true,
		Version:     build.BuilderV1, // BuildKit would need a session
	}, output)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return wrap("build image "+spec.Ref, ctx.Err())
	case client.IsErrConnectionFailed(err):
		return e.fail("build image "+spec.Ref, err)
	}
	return &BuildError{Ref: spec.Ref, Step: output.step, Output: output.last, Err: err}
}

func (e *Engine) build(ctx context.Context, buildContext io.Reader, options client.ImageBuildOptions, output *buildOutput) error {
	answer, err := e.client.ImageBuild(ctx, buildContext, options)
	if err != nil {
		return err
	}
	stream := &lines{emit: output.line}
	err = readMessages(ctx, answer.Body, func(m jsonstream.Message) {
		stream.add(m.Stream)
		output.pull.add(m) // a base image that is not there yet
	})
	stream.flush()
	return err
}

// buildOutput passes on a build's lines and remembers the last ones.
type buildOutput struct {
	progress func(string)
	pull     *pullLines
	step     string
	last     []string
}

func (o *buildOutput) line(line string) {
	if isBuildNoise(line) {
		return
	}
	if strings.HasPrefix(line, "Step ") {
		o.step = line
		o.last = nil // the output of steps that succeeded explains nothing
	} else {
		o.last = append(o.last, line)
		o.last = o.last[max(0, len(o.last)-buildErrorLines):]
	}
	if o.progress != nil {
		o.progress(line)
	}
}

// isBuildNoise tells the builder's accounts of its intermediate containers and
// images from what the steps themselves say.
func isBuildNoise(line string) bool {
	for _, prefix := range []string{" ---> ", "Removing intermediate container ", "Successfully built ", "Successfully tagged "} {
		if strings.HasPrefix(line, prefix) {
			return true
		}
	}
	return false
}
