package probe

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// WriteNagios writes a report as monitoring plugins do: a line with the state
// in one word, a summary and the performance data behind a bar, and below it
// the detail (https://www.monitoring-plugins.org/doc/guidelines.html, "Plugin
// Output for Nagios"). The exit code is Status.ExitCode.
func (r Report) WriteNagios(w io.Writer) error {
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "MAILSTACK %s - %s", strings.ToUpper(r.Status.String()), nagiosText(r.nagiosSummary()))
	if data := r.perfdata(); len(data) > 0 {
		fmt.Fprintf(b, " | %s", strings.Join(data, " "))
	}
	b.WriteByte('\n')
	hints := r.hints()
	for i, c := range r.Checks {
		fmt.Fprintf(b, "[%s] %s %.3f s", strings.ToUpper(c.Status.String()), nagiosText(c.Name), c.Duration.Seconds())
		if c.Reason != "" {
			fmt.Fprintf(b, ": %s", nagiosText(c.Reason))
		}
		b.WriteByte('\n')
		if hints[i] != "" {
			fmt.Fprintf(b, "  hint: %s\n", nagiosText(hints[i]))
		}
		for _, note := range c.Notes {
			fmt.Fprintf(b, "  %s\n", nagiosText(note))
		}
	}
	return b.Flush()
}

// NagiosUnknown is what a plugin says that could not look at all.
func NagiosUnknown(w io.Writer, reason string) error {
	first, rest, _ := strings.Cut(strings.TrimSpace(reason), "\n")
	_, err := fmt.Fprintf(w, "MAILSTACK UNKNOWN - %s\n", nagiosText(first))
	for line := range strings.Lines(rest) {
		if err == nil {
			_, err = fmt.Fprintf(w, "%s\n", nagiosText(line))
		}
	}
	return err
}

// nagiosText keeps text from ending the line or beginning performance data.
func nagiosText(s string) string {
	return strings.TrimSpace(strings.NewReplacer("|", "/", "\n", " ", "\r", " ").Replace(s))
}

// maxNamed bounds how many checks the status line names: it ends up in short
// messages.
const maxNamed = 3

// maxReason bounds the reason there, in characters. All of it is in the detail.
const maxReason = 160

// nagiosSummary names the worst checks, the first with its reason.
func (r Report) nagiosSummary() string {
	if r.Status == OK || len(r.Checks) == 0 {
		return r.Summary()
	}
	var names []string
	first := ""
	for _, c := range r.Checks {
		if c.Status != r.Status {
			continue
		}
		if names = append(names, c.Name); first == "" {
			first = c.Reason
		}
	}
	more := ""
	if len(names) > maxNamed {
		names, more = names[:maxNamed], fmt.Sprintf(" and %d more", len(names)-maxNamed)
	}
	return fmt.Sprintf("%s%s: %s (%s)", strings.Join(names, ", "), more, fit(first, maxReason), r.Summary())
}

// perfdata is 'label'=value[unit];[warning];[critical];[minimum];[maximum] for
// the time of every check and for what was measured.
func (r Report) perfdata() []string {
	all := []string{perf("time", Value{Unit: "s", Amount: r.Duration.Seconds()})}
	for _, c := range r.Checks {
		if c.Time.Unit != "" { // it was run
			all = append(all, perf(c.Name, c.Time))
		}
		for _, v := range c.Values {
			if v.Unit != "timestamp" {
				all = append(all, perf(strings.TrimRight(c.Name+"_"+v.Name+"_"+v.Label, "_"), v))
			}
		}
	}
	return all
}

// perf writes one value. A label may have neither a quote nor an equals sign,
// which plugins' readers take in different ways.
func perf(label string, v Value) string {
	label = strings.NewReplacer("'", "_", "=", "_").Replace(label)
	maximum := ""
	if v.Unit == "%" {
		maximum = "100"
	}
	minimum := "0"
	if v.Amount < 0 {
		minimum = ""
	}
	fields := fmt.Sprintf("%s%s;%s;%s;%s;%s", decimal(v.Amount), v.Unit, v.Warning, v.Critical, minimum, maximum)
	return fmt.Sprintf("'%s'=%s", label, strings.TrimRight(fields, ";"))
}
