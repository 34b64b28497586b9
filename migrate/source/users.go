package source

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"mailstack/migrate/remote"
)

//go:embed script/users.sh
var usersScript string

// usersAtOnce is how many accounts one script asks for: enough that logging in
// costs nothing, few enough that it ends within the minute.
const usersAtOnce = 200

// answer is what `doveadm user` says.
type answer struct {
	home   string
	mail   Location
	ok     bool
	absent bool // Dovecot does not know the user
}

// ask lets Dovecot say where mail is. That it cannot (it is stopped) is no
// error.
func (l *locator) ask(ctx context.Context, host *remote.Host) error {
	if l.facts.Dovecot.Version == "" {
		return nil
	}
	for batch := range slices.Chunk(l.list.Accounts, usersAtOnce) {
		script, args := l.facts.inside(usersScript)
		word := mark()
		args = append(args, word)
		for _, account := range batch {
			args = append(args, l.raw(account.Address))
		}
		out, err := host.Script(ctx, script, args...).Output()
		var exit *remote.ExitError
		if err != nil && !errors.As(err, &exit) {
			return fmt.Errorf("ask Dovecot where mail is: %w", err)
		}
		answers := parseUsers(out, word)
		heard := false
		for i, account := range batch {
			a, found := answers[i]
			heard = heard || found && (a.ok || a.absent)
			if found && a.ok {
				l.told[account.Address] = a
				l.stores.Asked = true
			}
		}
		if !heard {
			return nil // it is down
		}
	}
	return nil
}

// parseUsers reads what script/users.sh prints: answers by number.
func parseUsers(out []byte, word string) map[int]answer {
	answers := map[int]answer{}
	parts, _ := split(out, word)
	number := -1
	var body string
	for _, p := range parts {
		switch p.name {
		case "user":
			n, err := strconv.Atoi(p.args)
			if err != nil {
				n = -1
			}
			number, body = n, p.body
		case "status":
			if number < 0 {
				continue
			}
			a := parseUser(body)
			a.ok = p.args == "0" && (a.home != "" || a.mail.Path != "")
			a.absent = p.args == "67" // EX_NOUSER
			answers[number] = a
			number = -1
		}
	}
	return answers
}

// parseUser reads the fields of one: "mail" of 2.3 is a whole mail_location,
// 2.4 has several (cmd_user_mail_print_fields in src/doveadm/doveadm-auth.c).
func parseUser(body string) (a answer) {
	fields := map[string]string{}
	for line := range strings.Lines(body) {
		if key, value, found := strings.Cut(strings.TrimRight(line, "\r\n"), "\t"); found {
			fields[key] = value
		}
	}
	a.home = fields["home"]
	if mail := fields["mail"]; mail != "" {
		a.mail = parseLocation(mail)
		return a
	}
	a.mail = Location{
		Driver: strings.ToLower(fields["mail_driver"]), Path: fields["mail_path"], Layout: strings.ToLower(fields["mailbox_list_layout"]),
		Control: fields["mail_control_path"], Index: fields["mail_index_path"],
	}
	return a
}
