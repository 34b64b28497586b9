package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/moby/moby/api/types/jsonstream"
)

// readMessages hands each message of the engine's answer to each, until the
// first that is an error. It closes the answer.
func readMessages(ctx context.Context, answer io.ReadCloser, each func(jsonstream.Message)) error {
	defer answer.Close()
	stop := context.AfterFunc(ctx, func() { _ = answer.Close() })
	defer stop()
	decoder := json.NewDecoder(answer)
	for {
		var m jsonstream.Message
		err := decoder.Decode(&m)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil && ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			return fmt.Errorf("read the engine's answer: %w", err)
		case m.Error != nil:
			return m.Error
		}
		each(m)
	}
}

// maxLine bounds a line of progress: a program that never ends its line must
// not fill the memory.
const maxLine = 4096

// lines puts together the lines of a stream that arrives in pieces of any size.
type lines struct {
	emit func(string)
	part []byte
}

func (l *lines) add(text string) {
	for _, b := range []byte(text) {
		if b == '\n' || len(l.part) >= maxLine {
			l.flush()
		}
		if b != '\n' {
			l.part = append(l.part, b)
		}
	}
}

// flush ends a line that has no end yet.
func (l *lines) flush() {
	if line := plain(string(l.part)); line != "" {
		l.emit(line)
	}
	l.part = l.part[:0]
}

// ansi matches the control sequences of a terminal (ECMA-48, CSI): the classic
// builder colours what a command wrote to its standard error.
var ansi = regexp.MustCompile(`\x1b\[[0-?]*[ -/]*[@-~]`)

// plain is what a terminal shows of a line once it is complete: no colours, and
// of the parts that overwrote each other the last.
func plain(line string) string {
	line = strings.TrimRight(ansi.ReplaceAllString(line, ""), "\r \t")
	return strings.ToValidUTF8(line[strings.LastIndexByte(line, '\r')+1:], "\uFFFD")
}

// pullLines turns the messages of a pull into lines: each layer's states, once,
// without the bytes in between.
type pullLines struct {
	progress func(string)
	seen     map[string]bool
}

func newPullLines(progress func(string)) *pullLines {
	return &pullLines{progress: progress, seen: map[string]bool{}}
}

// maxPullLines is far above what an image of the greatest depth (127 layers)
// makes.
const maxPullLines = 1000

func (p *pullLines) add(m jsonstream.Message) {
	switch m.Status {
	case "", "Waiting", "Verifying Checksum", "Downloading", "Extracting":
		return
	}
	line := plain(m.Status)
	if m.ID != "" {
		line = m.ID + ": " + line
	}
	if p.progress == nil || p.seen[line] || len(p.seen) >= maxPullLines {
		return
	}
	p.seen[line] = true
	p.progress(line[:min(len(line), maxLine)])
}
