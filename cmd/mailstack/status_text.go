package main

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"mailstack/stack"
)

// printStatus is the text form.
func (a *app) printStatus(s *status) error {
	p := func(format string, args ...any) { fmt.Fprintf(a.Stdout, format, args...) }
	p("%s  %s\n\n", s.Stack, s.Hostname)
	rows := [][]string{{"SERVICE", "STATE", "SINCE", "IMAGE", "PORTS"}}
	for _, r := range s.Services {
		rows = append(rows, []string{r.Service, r.stateText(), ago(r.Since), r.imageText(), r.portText()})
	}
	if err := a.printTable(rows); err != nil {
		return err
	}
	p("\n")
	rows = [][]string{{"SOCKET", "USED BY", "MOUNT"}}
	for _, r := range s.Sockets {
		rows = append(rows, []string{r.Socket, r.Consumer, r.Mount})
	}
	if err := a.printTable(rows); err != nil {
		return err
	}
	p("\n")
	if s.Certificate != nil {
		p("certificate  %s, %.0f days left\n", strings.Join(s.Certificate.Names, " "), s.Certificate.DaysLeft)
	}
	if s.DNS != nil {
		p("dns          %s\n", s.DNS.summary)
	}
	p("accounts     %s\nqueue        %s\n", number(s.Accounts, ""), number(s.Queue, " messages"))
	if s.smarthost == "" {
		p("outgoing     TLS where it is offered, %s\n", daneText(s.DANE))
	} else {
		p("outgoing     by %s\n", s.smarthost)
	}
	for _, line := range heldBackText(s.HeldBack) {
		p("held back    %s\n", line)
	}
	for _, l := range s.Limited {
		p("over limit   %s since %s until %s, %d messages refused\n",
			l.Account, l.Since.Local().Format("15:04:05"), l.Until.Local().Format("15:04:05"), l.Refused)
	}
	for _, d := range s.Disks {
		p("disk         %s free of %s  (%s)\n", bytesText(d.FreeBytes), bytesText(d.TotalBytes), strings.Join(d.Volumes, ", "))
	}
	if s.Maintained != nil {
		p("maintenance  %s, its probe: %s\n", ago(s.Maintained), cmp.Or(s.ProbeStatus, "not run"))
	} else {
		p("maintenance  not since the last boot\n")
	}
	p("\n%s\n", s.Status)
	for _, problem := range s.Problems {
		p("  ! %s\n", problem)
	}
	return nil
}

// daneText says whether keys in the DNS count for outgoing mail.
func daneText(dane *bool) string {
	switch {
	case dane == nil:
		return "DANE is not known: the resolver does not answer"
	case *dane:
		return "and DANE"
	}
	return "no DANE: the resolver does not validate (DNSSEC)"
}

// heldBackText names those at whom most is guessed.
func heldBackText(list []stack.HeldBack) []string {
	const most = 10
	if list == nil {
		return []string{"not known"}
	}
	if len(list) == 0 {
		return []string{"nobody"}
	}
	var lines []string
	for _, h := range list[:min(most, len(list))] {
		lines = append(lines, fmt.Sprintf("%s since %s until %s, %d attempts refused",
			h.Name(), h.Since.Local().Format("15:04:05"), h.Until.Local().Format("15:04:05"), h.Refused))
	}
	if more := len(list) - most; more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more (--format json)", more))
	}
	return lines
}

func (r statusService) stateText() string {
	text := r.State
	if r.State == "running" && r.Health != "" {
		text = r.Health
	}
	if r.Restarts > 0 {
		text += fmt.Sprintf(" (%d restarts)", r.Restarts)
	}
	return text
}

func (r statusService) imageText() string {
	if r.Built == nil {
		return r.Image
	}
	return "built " + ago(r.Built)
}

func (r statusService) portText() string {
	var ports []string
	seen := map[uint16]bool{}
	for _, p := range r.Ports {
		if !seen[p.Port] {
			ports = append(ports, fmt.Sprintf("%d %s", p.Port, p.Name))
		}
		seen[p.Port] = true
	}
	if len(ports) == 0 {
		return "none"
	}
	return strings.Join(ports, ", ")
}

func number(n *int, unit string) string {
	if n == nil {
		return "not known"
	}
	return fmt.Sprintf("%d%s", *n, unit)
}

// ago says how long something is past.
func ago(t *time.Time) string {
	if t == nil {
		return "-"
	}
	d := time.Since(*t)
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%.0f s ago", d.Seconds())
	case d < 2*time.Hour:
		return fmt.Sprintf("%.0f min ago", d.Minutes())
	case d < 48*time.Hour:
		return fmt.Sprintf("%.0f h ago", d.Hours())
	}
	return fmt.Sprintf("%.0f days ago", d.Hours()/24)
}

// bytesText prints a size for people.
func bytesText(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	div, exp := int64(unit), 0
	for m := n / unit; m >= unit; m /= unit {
		div *= unit
		exp++
	}
	return fmt.Sprintf("%.1f %ciB", float64(n)/float64(div), "KMGTPE"[exp])
}
