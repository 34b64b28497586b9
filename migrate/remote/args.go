package remote

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ours are the keywords of ssh_config(5) that cannot be given as Extra, and
// why.
var ours = map[string]string{
	"batchmode":               "ssh asks where there is a terminal",
	"clearallforwardings":     "nothing is forwarded",
	"controlmaster":           "connections are shared already",
	"controlpath":             "connections are shared already",
	"controlpersist":          "connections are shared already",
	"forkafterauthentication": "mailstack decides when ssh leaves the terminal",
	"permitlocalcommand":      "nothing is run on this side",
	"remotecommand":           "mailstack says what runs there",
	"requesttty":              "what runs there has no terminal",
	"sessiontype":             "mailstack says what runs there",
	"stdinnull":               "scripts are sent by standard input",
}

// checkExtra refuses options that would turn off the check of host keys, and
// those that mailstack sets itself: ssh takes the first value it is given, so
// they would change nothing.
func checkExtra(extra string) error {
	key, value, _ := strings.Cut(extra, "=")
	if key, value = strings.ToLower(strings.TrimSpace(key)), strings.ToLower(strings.TrimSpace(value)); key == "" || value == "" ||
		strings.ContainsAny(key, " \t\"'") || strings.ContainsAny(extra, "\x00\r\n") {
		return &OptionError{Text: fmt.Sprintf("ssh option %q is not Keyword=value", extra)}
	}
	if why, found := ours[key]; found {
		return &OptionError{Text: fmt.Sprintf("ssh option %q cannot be set: %s", extra, why)}
	}
	unchecked := key == "stricthostkeychecking" && slices.Contains([]string{"no", "off", "false"}, strings.Trim(value, `"`)) ||
		strings.HasSuffix(key, "knownhostsfile") && strings.Contains(value, "/dev/null") ||
		key == "userknownhostsfile" && strings.Trim(value, `"`) == "none"
	if unchecked {
		return &OptionError{
			Text:   fmt.Sprintf("ssh option %q would send all mail and passwords to whoever answers", extra),
			Advice: "compare the fingerprint and log in once by hand (ssh), which remembers the key",
		}
	}
	return nil
}

// flags are what a user would type before the host.
func (o Options) flags() (args []string) {
	if o.ConfigFile != "" {
		args = append(args, "-F", o.ConfigFile)
	}
	if o.Port != 0 {
		args = append(args, "-p", strconv.Itoa(o.Port))
	}
	if o.Identity != "" {
		args = append(args, "-i", o.Identity)
	}
	return args
}

// options are the arguments of ssh before the host. They come before what the
// user's configuration says, and ssh takes the first.
func (h *Host) options(slot int, ask bool) []string {
	args := h.opts.flags()
	set := func(key, value string) { args = append(args, "-o", key+"="+value) }
	set("ControlMaster", "auto")
	set("ControlPath", h.controlPath(slot))
	set("ControlPersist", seconds(persist))
	set("BatchMode", map[bool]string{true: "no", false: "yes"}[ask])
	for _, extra := range h.opts.Extra {
		args = append(args, "-o", extra)
	}
	// After the user's own choice, before the configuration's: "accept-new" may
	// be asked for, "no" never takes effect.
	set("StrictHostKeyChecking", map[bool]string{true: "ask", false: "yes"}[ask])
	set("ConnectTimeout", seconds(connectTimeout))
	set("ServerAliveInterval", seconds(aliveInterval))
	set("ServerAliveCountMax", strconv.Itoa(aliveCount))
	set("LogLevel", "ERROR") // no banners, but what went wrong
	set("RequestTTY", "no")
	set("RemoteCommand", "none")
	set("PermitLocalCommand", "no")
	set("ClearAllForwardings", "yes")
	set("ForwardAgent", "no")
	set("ForwardX11", "no")
	set("EscapeChar", "none")
	return args
}

func seconds(d time.Duration) string { return strconv.Itoa(int(d / time.Second)) }

// RsyncShell is the arguments of rsync(1) that make it use the connection of a
// slot, and sudo where that is wanted: -e COMMAND, --rsync-path=PROGRAM.
func (h *Host) RsyncShell(slot int) []string {
	words := append([]string{h.opts.Program}, h.options(slot, false)...)
	for i, word := range words {
		words[i] = quoteRsync(word)
	}
	args := []string{"-e", strings.Join(words, " ")}
	if h.opts.Sudo {
		args = append(args, "--rsync-path=sudo -n rsync")
	}
	return args
}

// RsyncPath is how rsync(1) is told of a path on the host. It is safe from
// rsync's own remote shell only with --protect-args.
func (h *Host) RsyncPath(path string) string {
	user, host, found := strings.Cut(h.opts.Target, "@")
	if !found {
		user, host = "", h.opts.Target
	}
	if strings.Contains(host, ":") && !strings.HasPrefix(host, "[") {
		host = "[" + host + "]" // an IPv6 address
	}
	if user != "" {
		host = user + "@" + host
	}
	return host + ":" + path
}

// quoteRsync quotes a word for rsync's -e, which knows no shell: blanks
// separate, quotes of either kind hold together, and a quote inside is doubled
// (rsync(1), --rsh).
func quoteRsync(word string) string {
	if word != "" && !strings.ContainsAny(word, " '\"") {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", "''") + "'"
}

// Quote quotes words for a POSIX shell and joins them by blanks.
func Quote(words ...string) string {
	quoted := make([]string, len(words))
	for i, word := range words {
		quoted[i] = quoteShell(word)
	}
	return strings.Join(quoted, " ")
}

func quoteShell(word string) string {
	if word != "" && strings.Trim(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+./:,@%") == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
