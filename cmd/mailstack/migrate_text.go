package main

import (
	"fmt"
	"strings"
	"time"

	"mailstack/migrate"
	"mailstack/migrate/remote"
	"mailstack/migrate/source"
)

// printChecks shows what was looked at before anything is copied.
func (a *app) printChecks(checks []source.Check) {
	marks := map[source.Level]string{source.OK: "✓", source.Warn: "!", source.Fail: "✗"}
	for _, c := range checks {
		fmt.Fprintf(a.Stderr, "%s %-12s %s\n", marks[c.Level], c.Name, c.Text)
		if c.Remedy != "" && c.Level != source.OK {
			fmt.Fprintf(a.Stderr, "  %-12s → %s\n", "", c.Remedy)
		}
	}
}

// mapping is where an account comes from and goes to, as scripts read it.
type mapping struct {
	Address  string `json:"address"`
	From     string `json:"from"` // Maildir there; "" where nothing was delivered yet
	Messages int64  `json:"messages"`
	Quota    int64  `json:"quota_bytes"`
	Disabled bool   `json:"disabled"`
	Problem  string `json:"problem,omitempty"`
}

// printMapping is what a dry run ends with.
func (a *app) printMapping(f migrateFlags, old *oldHost) error {
	var list []mapping
	for _, account := range old.list.Accounts {
		seen := old.stores.ByAddress[account.Address]
		m := mapping{
			Address: account.Address, From: account.Store.Maildir, Messages: seen.Messages, Quota: account.QuotaBytes,
			Disabled: account.Disabled, Problem: seen.Problem,
		}
		list = append(list, m)
	}
	if f.format == "json" {
		return a.printJSON(struct {
			Domains  []string        `json:"domains"`
			Accounts []mapping       `json:"accounts"`
			Aliases  []migrate.Alias `json:"aliases"`
			Left     []string        `json:"left"`
		}{old.list.Domains, list, old.list.Aliases, old.list.Left})
	}
	rows := [][]string{{"ACCOUNT", "MESSAGES", "QUOTA", "FROM"}}
	for _, m := range list {
		from := m.From
		switch {
		case m.Problem != "":
			from = "✗ " + remote.Visible(m.Problem)
		case from == "":
			from = "(no mail yet)"
		default:
			from = remote.Visible(from)
		}
		rows = append(rows, []string{m.Address, fmt.Sprint(m.Messages), quotaText(m.Quota), from})
	}
	if err := a.printTable(rows); err != nil {
		return err
	}
	for _, alias := range old.list.Aliases {
		fmt.Fprintln(a.Stdout, remote.Visible("alias "+alias.Address+" -> "+strings.Join(alias.Targets, ", ")))
	}
	for _, line := range old.list.Left {
		fmt.Fprintf(a.Stdout, "not carried over: %s\n", line)
	}
	return nil
}

// movedReport is the report of a pass, as scripts read it.
type movedReport struct {
	Schema int  `json:"schema"`
	OK     bool `json:"ok"`
	*migrate.Report
	CutOver *cutOver `json:"cut_over,omitempty"`
	// NewPasswords are accounts whose owners could not log in: their hashes there are
	// of schemes that are not verified here. Some may have got a new one here since.
	NewPasswords []string `json:"new_passwords,omitempty"`
}

// printReport shows what a pass did and found.
func (m *rsyncMigration) printReport(r *migrate.Report) error {
	if r == nil {
		return nil
	}
	if m.flags.format == "json" {
		return m.printJSON(movedReport{1, r.OK(), r, m.cutOver, m.newPasswords()})
	}
	rows := [][]string{{"MAILBOX", "FOLDERS", "MESSAGES", "SIZE", "RESULT"}}
	for _, b := range r.Mailboxes {
		messages, octets := 0, int64(0)
		for _, f := range b.Folders {
			messages += f.Here.Messages
			octets += f.Here.Octets
		}
		rows = append(rows, []string{b.Address, fmt.Sprint(len(b.Folders)), fmt.Sprint(messages), bytesText(octets), verdictOf(b)})
	}
	if err := m.printTable(rows); err != nil {
		return err
	}
	for _, b := range r.Mailboxes {
		for _, line := range linesOf(b) {
			fmt.Fprintf(m.Stdout, "%s: %s\n", b.Address, remote.Visible(line))
		}
	}
	for _, line := range r.Warnings {
		fmt.Fprintf(m.Stdout, "! %s\n", remote.Visible(line))
	}
	fmt.Fprintf(m.Stdout, "copied %s in %d messages; %d changed their flags, %d are gone; %s\n",
		bytesText(r.Copied.Bytes), r.Copied.Messages, r.Renamed, r.Removed, seconds(r.Ended.Sub(r.Began)))
	m.printCutOver()
	for _, address := range m.newPasswords() {
		fmt.Fprintf(m.Stdout, "! %s needs a new password, unless it has got one here: Dovecot does not verify its hash. mailstack account passwd %[1]s\n", address)
	}
	return nil
}

// printCutOver shows how long nobody could use the mail, and what became of the
// old server's queue.
func (m *rsyncMigration) printCutOver() {
	if m.cutOver == nil || m.cutOver.Downtime == 0 {
		return
	}
	forecast := ""
	if m.cutOver.Forecast > 0 {
		forecast = fmt.Sprintf("; the forecast was %s", duration(time.Duration(m.cutOver.Forecast*float64(time.Second))))
	}
	until := "until the accounts were opened"
	if !m.cutOver.whole {
		until = "and not all accounts could be opened"
	}
	fmt.Fprintf(m.Stdout, "out of use for %s since the freeze, %s%s\n",
		duration(time.Duration(m.cutOver.Downtime*float64(time.Second))), until, forecast)
	printCarried(m.Stdout, m.cutOver.Queue)
}

func verdictOf(r migrate.Result) string {
	switch {
	case r.Problem != "":
		return "failed"
	case !r.OK():
		return "different"
	case len(r.Changing) > 0:
		return "in use there"
	}
	return "the same"
}

// linesOf is what is to be said of a mailbox, with a limit: whoever wants all of
// it takes JSON.
func linesOf(r migrate.Result) []string {
	var lines []string
	if r.Problem != "" {
		lines = append(lines, "✗ "+r.Problem)
	}
	for _, d := range r.Differences {
		lines = append(lines, "✗ "+d.String())
	}
	for _, line := range r.Login {
		lines = append(lines, "✗ "+line)
	}
	lines = append(lines, r.Notes...)
	const most = 20
	if len(lines) > most {
		lines = append(lines[:most], fmt.Sprintf("… and %d more (--format json)", len(lines)-most))
	}
	return lines
}
