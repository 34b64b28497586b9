package imapcopy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

// spoolMemory is the size above which a message waits in a file.
const spoolMemory = 8 << 20

// spool holds one message at a time, on its way from one server to the other.
type spool struct {
	memory bytes.Buffer
	file   *os.File // has no name any more; nil: no message was large yet
}

// spooled is a whole message.
type spooled struct {
	io.Reader
	size int64
}

// take reads a message to its end.
func (s *spool) take(r io.Reader) (spooled, error) {
	s.memory.Reset()
	size, err := io.CopyN(&s.memory, r, spoolMemory)
	if errors.Is(err, io.EOF) {
		return spooled{&s.memory, size}, nil
	}
	if err != nil {
		return spooled{}, err
	}
	if err := s.rewind(); err != nil {
		return spooled{}, err
	}
	more, err := io.Copy(s.file, r)
	if err != nil {
		return spooled{}, err
	}
	if _, err := s.file.Seek(0, io.SeekStart); err != nil {
		return spooled{}, fmt.Errorf("rewind temporary file: %w", err)
	}
	return spooled{io.MultiReader(&s.memory, s.file), size + more}, nil
}

// rewind empties the file, and makes it at its first use.
func (s *spool) rewind() error {
	if s.file == nil {
		file, err := os.CreateTemp("", "mailstack-message-")
		if err != nil {
			return fmt.Errorf("make temporary file: %w", err)
		}
		s.file = file
		if err := os.Remove(file.Name()); err != nil {
			return fmt.Errorf("unname temporary file: %w", err)
		}
	}
	if _, err := s.file.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("rewind temporary file: %w", err)
	}
	if err := s.file.Truncate(0); err != nil {
		return fmt.Errorf("empty temporary file: %w", err)
	}
	return nil
}

func (s *spool) close() {
	if s.file != nil {
		_ = s.file.Close()
	}
}
