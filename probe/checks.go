package probe

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// entry is a row of the table of checks.
type entry struct {
	Check
	applies func(t *Target) bool
}

// table is every check but those of sockets, which are made from the target,
// in the order of reports.
var table = makeTable()

func makeTable() []entry {
	var all []entry
	for _, s := range services {
		all = append(all, entry{
			Check{Name: s.key, About: s.about, Run: checkService(s)},
			needs(s.key),
		})
	}
	refusal := func(name, about string, run Func, keys ...string) {
		all = append(all, entry{Check{Name: "refusal." + name, About: about, Run: run, first: name != "smtp"}, needs(keys...)})
	}
	refusal("imap", "a wrong password, and a login before TLS, are refused by IMAP", refuseIMAP, "imap", "imaps")
	refusal("pop3", "a wrong password, and a login before TLS, are refused by POP3", refusePOP3, "pop3", "pop3s")
	refusal("managesieve", "a wrong password, and a login before TLS, are refused by ManageSieve", refuseSieve, "managesieve")
	refusal("submission", "wrong password, login before TLS, relaying, and foreign and null senders, foreign authors too, are refused by submission", refuseSubmission, "submission", "submissions")
	refusal("smtp", "logins, relaying, VRFY, claims of a local address and smuggled mail are refused on port 25", refuseSMTP, "smtp")

	mailboxes := needs("imap", "imaps", "pop3", "pop3s")
	deliver := func(name, about string, login bool, keys ...string) {
		name = "delivery." + name
		sends := needs(keys...)
		all = append(all, entry{
			Check{Name: name, About: about, Run: checkDelivery(name, login, keys...)},
			func(t *Target) bool { return sends(t) && mailboxes(t) && !t.anonymous() },
		})
	}
	deliver("submission", "a message sent by submission arrives, is read by IMAP and POP3, and removed", true, "submissions", "submission")
	deliver("inbound", "a message sent to port 25 arrives, is read by IMAP and POP3, and removed", false, "smtp")

	all = append(all, entry{
		Check{Name: elsewhereCheck, About: "a message sent by submission arrives at another server (--send-to)", Run: checkElsewhere},
		func(t *Target) bool { return t.Elsewhere != nil && t.firstOn("submissions", "submission") != "" },
	})
	for _, s := range services {
		all = append(all, entry{
			Check{Name: certFamily + "." + s.key, About: "the certificate served there: chain, name, what is left of its life, oldest protocol", Run: checkCert(s)},
			needs(s.key),
		})
	}
	return append(append(all, facts...), recordChecks()...)
}

// facts are the checks of what is not a mail protocol.
var facts = []entry{
	{
		Check{Name: "mysql.query", About: "a query over the shared socket, from the host", Run: checkDatabase},
		func(t *Target) bool { return t.Database != nil },
	},
	{
		Check{Name: "mysql.rights", About: "the services' database users may do what they must and no more", Run: checkRights},
		func(t *Target) bool { return t.Rights != nil },
	},
	{
		Check{Name: "queue", About: "how many messages wait, and for how long", Run: checkQueue},
		func(t *Target) bool { return t.Queue != nil },
	},
	{
		Check{Name: "disk", About: "the room that is left for data", Run: checkDisk},
		func(t *Target) bool { return t.Disks != nil },
	},
	{
		Check{Name: "mailboxes", About: "every mailbox in the mail store has its account", Run: checkMailboxes},
		func(t *Target) bool { return t.Mailboxes != nil },
	},
	{
		Check{Name: "containers", About: "every container runs, is healthy, and has not been restarted lately", Run: checkContainers},
		func(t *Target) bool { return t.Containers != nil },
	},
	{
		Check{Name: "clock", About: "this host's clock is plausible, and how well it is kept", Run: checkClock},
		func(t *Target) bool { return t.Clock != nil },
	},
	{
		Check{Name: "source-address", About: "which address the daemons see when this host connects", Run: checkSource},
		func(t *Target) bool { return t.Logged != nil && t.on("smtp") },
	},
}

// needs is true where at least one of these listeners is published.
func needs(keys ...string) func(t *Target) bool {
	return func(t *Target) bool { return t.firstOn(keys...) != "" }
}

// Checks are the checks that apply to a target, in the order of reports.
func Checks(t *Target) []Check {
	var all []Check
	for _, e := range table {
		if e.applies(t) {
			all = append(all, e.Check)
		}
	}
	for _, s := range t.Sockets {
		all = append(all, Check{Name: s.name(), About: aboutSockets, Run: checkSocket(s)})
	}
	return all
}

const (
	elsewhereCheck = "delivery.elsewhere"
	socketFamily   = "sockets"
	aboutSockets   = "from inside a consumer: the socket connects and its directory is read-only"
)

// Catalogue is every check that there is, whether it applies to some target or
// not. The name sockets.<consumer>.<socket> stands for one check each.
func Catalogue() []Check {
	var all []Check
	for _, e := range table {
		all = append(all, e.Check)
	}
	all = append([]Check{{Name: dnsCheck, About: "the name given to --target is looked up"}}, all...)
	return append(all, Check{Name: socketFamily + ".<consumer>.<socket>", About: aboutSockets})
}

// NameError says which names select no check.
type NameError struct {
	Names []string
}

// Error names them all.
func (e *NameError) Error() string {
	quoted := make([]string, len(e.Names))
	for i, n := range e.Names {
		quoted[i] = fmt.Sprintf("%q", n)
	}
	return "no check is called " + strings.Join(quoted, " or ")
}

// Hint says where the names are.
func (e *NameError) Hint() string { return "`mailstack probe --list` shows the names" }

// certPort says whether a name is that of a certificate check by its port.
func certPort(name string) bool {
	number, ok := strings.CutPrefix(name, certFamily+".")
	port, err := strconv.ParseUint(number, 10, 16)
	return ok && err == nil && port > 0
}

// CheckNames returns a *NameError for the names in Options.Only that can never
// select a check.
func CheckNames(only []string) error {
	var unknown []string
	for _, p := range only {
		known := slices.ContainsFunc(table, func(e entry) bool { return matches(e.Name, p) }) ||
			matches(dnsCheck, p) || certPort(p) || matches(socketFamily, p) || strings.HasPrefix(p, socketFamily+".")
		if !known {
			unknown = append(unknown, p)
		}
	}
	if unknown != nil {
		return &NameError{unknown}
	}
	return nil
}
