package main

import (
	"errors"
	"fmt"
	"hash/fnv"
	"path"
	"slices"
	"strings"
	"text/template"
	"unicode"
	"unicode/utf8"
)

// units is what the units of a stack say. Rendering them is a pure function of
// it.
type units struct {
	stack    string   // its name
	hostname string   // for people to read
	binary   string   // absolute path of this program
	config   string   // absolute path of the configuration file
	paths    []string // directories that must be mounted first
}

// unitFile is a file in /etc/systemd/system.
type unitFile struct {
	name    string
	content string
	enable  []string // what systemctl does with it when it is there, if anything
	disable []string // and before it goes
}

// check reports every path that cannot be written into a unit. systemd reads
// units as UTF-8 and line by line.
func (u units) check() error {
	var problems []error
	if strings.ContainsAny(u.binary, `"'\`) {
		problems = append(problems, fmt.Errorf("write path %q into a unit: systemd runs no program with a quote or a backslash in its path", u.binary))
	}
	for _, p := range append([]string{u.binary, u.config}, u.paths...) {
		if !path.IsAbs(p) {
			problems = append(problems, fmt.Errorf("write path %q into a unit: it is not absolute", p))
		}
		if !utf8.ValidString(p) || strings.ContainsFunc(p, unicode.IsControl) {
			problems = append(problems, fmt.Errorf("write path %q into a unit: it has control characters or is not UTF-8", p))
		}
	}
	return errors.Join(problems...)
}

// mark is the first line of a file that we wrote for the stack and may replace.
func (u units) mark() string {
	return fmt.Sprintf("# Written by mailstack for the stack %q; `mailstack systemd --install` replaces it.", u.stack)
}

func (u units) serviceName() string     { return "mailstack-" + u.stack + ".service" }
func (u units) maintenanceName() string { return "mailstack-" + u.stack + "-maintain.service" }
func (u units) timerName() string       { return "mailstack-" + u.stack + "-maintain.timer" }
func (u units) exporterName() string    { return "mailstack-" + u.stack + "-exporter.service" }

// files renders the units.
func (u units) files() []unitFile {
	own := []string{path.Dir(u.config), path.Dir(u.binary)}
	mounts := append(slices.Clone(u.paths), own...)
	fields := map[string]any{
		"Mark":      u.mark(),
		"Stack":     u.stack,
		"Hostname":  strings.ReplaceAll(u.hostname, "%", "%%"),
		"Mounts":    quoteAll(withoutNested(mounts), quotePath),
		"OwnMounts": quoteAll(withoutNested(own), quotePath),
		"Service":   u.serviceName(),
		"Command":   quotePath(u.binary) + " --config " + quoteArgument(u.config),
		"Listen":    exporterAddress,
	}
	return []unitFile{
		{u.serviceName(), fill(serviceUnit, fields), []string{"enable"}, []string{"disable"}},
		{u.maintenanceName(), fill(maintenanceUnit, fields), nil, nil},
		{u.timerName(), fill(timerUnit, fields), []string{"enable", "--now"}, []string{"disable", "--now"}},
		// Whether it runs is the administrator's choice; one that runs is to be
		// the program of now.
		{u.exporterName(), fill(exporterUnit, fields), []string{"try-restart"}, []string{"disable", "--now"}},
	}
}

func fill(text *template.Template, fields map[string]any) string {
	var out strings.Builder
	if err := text.Execute(&out, fields); err != nil {
		panic(err) // constant templates over constant keys
	}
	return out.String()
}

// Requires= makes a restart of Docker a restart of this unit, so that `up`
// finishes what Docker's own restart policy could not: a container whose mount
// was late is not tried again by the engine. There is no ExecStop: at shutdown
// Docker stops its containers itself.
//
// A configuration that is wrong (exit status 2) does not get better by itself.
var serviceUnit = template.Must(template.New("service").Option("missingkey=error").Parse(`{{.Mark}}
[Unit]
Description=Mail server {{.Hostname}} (mailstack {{.Stack}})
RequiresMountsFor={{.Mounts}}
Requires=docker.service
Wants=network-online.target
After=docker.service network-online.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={{.Command}} up --no-probe
TimeoutStartSec=30min
Restart=on-failure
RestartSec=30s
RestartPreventExitStatus=2

[Install]
WantedBy=multi-user.target
`))

var maintenanceUnit = template.Must(template.New("maintenance").Option("missingkey=error").Parse(`{{.Mark}}
[Unit]
Description=Daily maintenance of mail server {{.Hostname}} (mailstack {{.Stack}})
RequiresMountsFor={{.Mounts}}
Wants=network-online.target
After=docker.service network-online.target {{.Service}}

[Service]
Type=oneshot
ExecStart={{.Command}} maintain
TimeoutStartSec=1h
Nice=10
`))

// The delay keeps the hosts of the world from asking for certificates and
// packages at the same minute; Persistent= makes up for a day that the host
// was off.
var timerUnit = template.Must(template.New("timer").Option("missingkey=error").Parse(`{{.Mark}}
[Unit]
Description=Daily maintenance of mail server {{.Hostname}} (mailstack {{.Stack}})

[Timer]
OnCalendar=daily
RandomizedDelaySec=6h
Persistent=true

[Install]
WantedBy=timers.target
`))

// exporterAddress is where the unit of the exporter listens. The port is none
// of those in https://github.com/prometheus/prometheus/wiki/Default-port-allocations.
const exporterAddress = "127.0.0.1:9725"

// The exporter asks the engine and reads the probe's password: it is root, and
// whoever may use the engine's socket could be that anyway. What it does not need
// is taken from it all the same. CAP_DAC_READ_SEARCH is for the names of the
// mailboxes, whose directories are not root's; it can write nothing of anybody's.
// It needs adjtimex(2) to read the clock's state, which @system-service leaves out
// and ProtectClock= forbids.
//
// Neither engine nor data have to be there: that they are away is what it is to
// tell.
var exporterUnit = template.Must(template.New("exporter").Option("missingkey=error").Parse(`{{.Mark}}
[Unit]
Description=Prometheus exporter of mail server {{.Hostname}} (mailstack {{.Stack}})
RequiresMountsFor={{.OwnMounts}}
After=docker.service network-online.target {{.Service}}

[Service]
Type=exec
ExecStart={{.Command}} probe --listen {{.Listen}}
Restart=on-failure
RestartSec=30s

NoNewPrivileges=yes
CapabilityBoundingSet=CAP_DAC_READ_SEARCH
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=yes
PrivateDevices=yes
ProtectProc=invisible
ProtectHostname=yes
ProtectControlGroups=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallFilter=adjtimex
SystemCallErrorNumber=EPERM
UMask=0077

[Install]
WantedBy=multi-user.target
`))

// cron is a line for root's crontab. The minute depends on the stack, for the
// reason that the timer has a random delay.
func (u units) cron() string {
	sum := fnv.New32a()
	fmt.Fprint(sum, u.stack, u.hostname)
	at := sum.Sum32() % (6 * 60)
	return fmt.Sprintf("# Maintenance of the stack %q, for `crontab -e` of root.\n%d %d * * * %s --config %s maintain\n",
		u.stack, at%60, at/60, quoteCron(u.binary), quoteCron(u.config))
}

// withoutNested drops what lies in another of the paths and is thereby said
// already: RequiresMountsFor= covers every mount on the way to a path, not
// those below it, so it is the parent that is dropped.
func withoutNested(paths []string) []string {
	var kept []string
	for _, p := range paths {
		p = path.Clean(p)
		above := slices.ContainsFunc(paths, func(other string) bool {
			other = path.Clean(other)
			return other != p && strings.HasPrefix(other, strings.TrimSuffix(p, "/")+"/")
		})
		if !above && !slices.Contains(kept, p) {
			kept = append(kept, p)
		}
	}
	return kept
}

func quoteAll(words []string, quote func(string) string) string {
	quoted := make([]string, len(words))
	for i, word := range words {
		quoted[i] = quote(word)
	}
	return strings.Join(quoted, " ")
}

// quotePath writes a path as one word of a unit: systemd.syntax(7) for quotes
// and backslashes, systemd.unit(5) for percent signs, which begin a specifier.
func quotePath(p string) string {
	escaped := strings.NewReplacer(`\`, `\\`, `"`, `\"`, `%`, `%%`).Replace(p)
	if escaped == p && !strings.ContainsAny(p, " '") {
		return p
	}
	return `"` + escaped + `"`
}

// quoteArgument is quotePath for an argument of ExecStart=, where a dollar
// sign begins a variable (systemd.service(5)). The program itself is no
// argument: there it is an ordinary character.
func quoteArgument(p string) string {
	return strings.ReplaceAll(quotePath(p), "$", "$$")
}

// quoteCron writes a word for sh in a crontab, where a percent sign ends the
// command even within quotes (crontab(5)).
func quoteCron(p string) string {
	if strings.Trim(p, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+") == "" {
		return p
	}
	var out strings.Builder
	out.WriteByte('\'')
	for _, r := range p {
		switch r {
		case '\'':
			out.WriteString(`'\''`)
		case '%':
			out.WriteString(`'\%'`)
		default:
			out.WriteRune(r)
		}
	}
	out.WriteByte('\'')
	return out.String()
}
