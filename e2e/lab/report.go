package lab

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"
)

// Header begins the report of a program that tries stacks out.
type Header struct {
	Schema  int       `json:"schema"`
	Version string    `json:"version"` // of mailstack
	Taken   time.Time `json:"taken"`
	CPUs    int       `json:"cpus"`
}

// NewHeader is the header of what was found out just now, here.
func NewHeader(version string) Header {
	return Header{Schema: 1, Version: version, Taken: time.Now().UTC().Truncate(time.Second), CPUs: runtime.NumCPU()}
}

func (h Header) String() string {
	return fmt.Sprintf("mailstack %s, %d processors, %s", h.Version, h.CPUs, h.Taken.Format(time.RFC3339))
}

// WriteText writes a report without what tables leave at the ends of lines.
func WriteText(w io.Writer, text string) error {
	for line := range strings.Lines(text) {
		if _, err := io.WriteString(w, strings.TrimRight(line, " \n")+"\n"); err != nil {
			return err
		}
	}
	return nil
}

// WriteFile writes a report as JSON.
func WriteFile(path string, report any) error {
	data, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	if err := os.WriteFile(path, append(data, '\n'), 0o644); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}
