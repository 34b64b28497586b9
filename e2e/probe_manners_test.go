package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"mailstack/accounts"
)

// runsWatched is how many runs of the probe must leave no trace.
const runsWatched = 5

// The probe leaves nothing behind: no mail, no file, nothing in a queue and no
// error in a log, however often it runs. Not beside other tests: what a service
// says when it gets no processor for seconds is not the probe's doing.
func TestProbeLeavesNothingBehind(t *testing.T) {
	s := newStack(t, "")
	s.upGreen(t)
	s.quiet(t)
	files, control := s.containerFiles(t), s.probeFiles(t)
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("TMPDIR", home)
	since := time.Now().UTC()
	for range runsWatched {
		s.probeTimed(t)
	}
	s.quiet(t)
	s.checkLogs(t, since)
	if after := s.containerFiles(t); !slices.Equal(files, after) {
		t.Errorf("files in the containers were\n%s\nand now are\n%s", strings.Join(files, "\n"), strings.Join(after, "\n"))
	}
	if left, err := os.ReadDir(home); err != nil || len(left) > 0 {
		t.Errorf("left on the host: %v %v", left, err)
	}
	s.checkControlFiles(t, control)
}

// probeTimed runs the probe, which has to be green, and tells how its time
// compares with that of its slowest check.
func (s *Stack) probeTimed(t *testing.T) {
	t.Helper()
	r := s.run(t, "probe", "--format", "json", "--timeout", "30s")
	var report struct {
		Checks []struct {
			Name, Status, Reason string
			Seconds              float64
		}
	}
	if err := json.Unmarshal([]byte(r.stdout), &report); err != nil || r.code != 0 {
		t.Fatalf("probe: %v: %v", err, r)
	}
	slowest := report.Checks[0]
	for _, c := range report.Checks {
		if c.Seconds > slowest.Seconds {
			slowest = c
		}
	}
	t.Logf("%d checks in %.2f s, %.2f times the slowest (%s, %.2f s)",
		len(report.Checks), r.took.Seconds(), r.took.Seconds()/slowest.Seconds, slowest.Name, slowest.Seconds)
}

// quiet waits until the queue is empty.
func (s *Stack) quiet(t *testing.T) {
	t.Helper()
	waitUntil(t, 30*time.Second, "an empty queue", func() (bool, string) {
		out, code := s.exec(t, "postfix", "postqueue", "-j")
		return code == 0 && out == "", out
	})
}

// containerFiles lists the files in every place that a container can write to
// and that is no volume.
func (s *Stack) containerFiles(t *testing.T) (all []string) {
	t.Helper()
	for _, service := range services {
		user := "0"
		if service == "filter" { // whose directory root has no right to look into
			user = ownUser[service]
		}
		r := tryDocker(t, "exec", "-u", user, s.container(service), "sh", "-c", "cd / && for dir in /tmp /run /dev/shm; do [ ! -d $dir ] || find $dir -type f || exit; done")
		if r.code != 0 {
			t.Fatalf("%s: %v", service, r)
		}
		for name := range strings.FieldsSeq(r.stdout) {
			all = append(all, service+":"+name)
		}
	}
	slices.Sort(all)
	return all
}

// probeFiles are the files of the probe's mailbox, with their sizes.
func (s *Stack) probeFiles(t *testing.T) map[string]int64 {
	t.Helper()
	home := filepath.Join(s.data(), "vmail", "data", s.hostname(), accounts.ProbeLocal)
	files := map[string]int64{}
	err := filepath.WalkDir(home, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			files[strings.TrimPrefix(path, home+"/")] = info.Size()
		}
		return err
	})
	if err != nil || len(files) == 0 {
		t.Fatalf("the probe's mailbox: %v %v", files, err)
	}
	return files
}

// controlFile is what Dovecot keeps beside messages, at most one of each. Its log
// begins anew at 32 KiB and keeps one predecessor (mail_index_log_rotate_min_size
// in Dovecot's src/lib-index).
var controlFile = regexp.MustCompile(`^(dovecot\.(list\.)?index(\.cache|\.log(\.2)?)?|dovecot-uidlist|dovecot-uidvalidity(\.[0-9a-f]{8})?|dovecot-keywords|maildirfolder|subscriptions)$`)

const controlBytes = 128 << 10

// checkControlFiles: no message in any folder, and nothing that grows for ever.
func (s *Stack) checkControlFiles(t *testing.T, before map[string]int64) {
	t.Helper()
	after, sum := s.probeFiles(t), int64(0)
	dirs := map[string]bool{}
	for name, size := range after {
		if !controlFile.MatchString(filepath.Base(name)) {
			t.Errorf("%s is in the probe's mailbox", name)
		}
		dirs[filepath.Dir(name)] = true
		sum += size
	}
	if len(dirs) != 1 {
		t.Errorf("the probe's mailbox has files in %v", slices.Sorted(maps.Keys(dirs)))
	}
	if sum > controlBytes {
		t.Errorf("an empty mailbox takes %d bytes: %v", sum, after)
	}
	t.Logf("the probe's empty mailbox: %v, before %v", after, before)
}

// The lines above informational that a run of the probe may cause, each with how
// often: what Postfix says of a client that speaks TLS 1.1 only (on 25, 465 and
// 587), and of a wrong password, with the name of the probe.
var probeWarnings = map[string]int{
	`warning: TLS library problem: error:0A000102:SSL routines::unsupported protocol:`:                                  3,
	`warning: unknown\[[0-9a-f.:]+\]: SASL PLAIN authentication failed: .*, sasl_username=` + accounts.ProbeLocal + `@`: 1,
}

// loud matches a line above informational, as each service marks it. That time
// moves by leaps is this machine's own (it is said by Dovecot's master).
var loud = map[string]*regexp.Regexp{
	"postfix": regexp.MustCompile(`: (warning|error|fatal|panic): `),
	"dovecot": regexp.MustCompile(`^(?:[^:]*: )?(?:Warning|Error|Fatal|Panic): (?:[^T]|T[^i])`),
	"mysql":   regexp.MustCompile(`\[(Warning|ERROR)\]`),
	"filter":  regexp.MustCompile(`.`), // it logs nothing else
	"valkey":  regexp.MustCompile(`^[^#]*# `),
}

// checkLogs looks for what no run of the probe should cause.
func (s *Stack) checkLogs(t *testing.T, since time.Time) {
	t.Helper()
	for _, service := range services {
		seen := map[string]int{}
		for line := range strings.Lines(docker(t, "logs", "--since", since.Format(time.RFC3339Nano), s.container(service))) {
			if !loud[service].MatchString(line) {
				continue
			}
			known := ""
			for pattern := range probeWarnings {
				if regexp.MustCompile(pattern).MatchString(line) {
					known = pattern
				}
			}
			if seen[known]++; known == "" {
				t.Errorf("%s logged: %s", service, line)
			}
		}
		for pattern, n := range seen {
			if n > runsWatched*probeWarnings[pattern] && pattern != "" {
				t.Errorf("%s logged %d times in %d runs: %s", service, n, runsWatched, pattern)
			}
		}
	}
}

// Nobody but the probe can put mail into its mailbox: its address is refused in
// every form and by every way in but the one that only the probe knows.
func TestProbeMailboxTakesNoMail(t *testing.T) {
	t.Parallel()
	s := shared(t)
	me, password := s.account(t)
	for _, to := range []string{
		accounts.ProbeLocal + "@" + s.hostname(),
		strings.ToUpper(accounts.ProbeLocal) + "@" + s.hostname(),
		accounts.ProbeLocal + "+@" + s.hostname(),
		accounts.ProbeLocal + "+" + strings.Repeat("0", 32) + "@" + s.hostname(),
		accounts.ProbeLocal + "+_@" + s.hostname(),
	} {
		if err := s.inbound(t, stranger, []string{to}, message(stranger, to, "spam", "x")); smtpCode(err) != 550 {
			t.Errorf("port 25: mail for <%s> ends with %v, want 550", to, err)
		}
		if err := s.submit(t, me, password, me, []string{to}, message(me, to, "spam", "x")); smtpCode(err) != 550 {
			t.Errorf("submission: mail for <%s> ends with %v, want 550", to, err)
		}
	}
	// A redirect to it comes back to who wrote it.
	s.sieve(t, me, password, `redirect "`+accounts.ProbeLocal+"@"+s.hostname()+`";`)
	subject := s.deliver(t, stranger, me)
	s.waitMail(t, me, password, "INBOX", subject)

	// The one form is known to who has the probe's password.
	own := accounts.System{Hostname: s.hostname(), ProbePassword: accounts.NewSecret(s.secret(t, "probe"))}
	if red := s.probe(t, "--only", "delivery").red(); len(red) > 0 {
		t.Errorf("the probe's own mail does not arrive: %v", red)
	}
	if strings.Contains(s.mustRun(t, "probe", "--only", "delivery", "--debug"), strings.TrimSuffix(strings.Split(own.ProbeRecipient(), "+")[1], "@"+s.hostname())) {
		t.Error("--debug shows the address that takes the probe's mail")
	}
}

// The stack never holds its own probe up: not for what others guess, and not for
// how often it comes.
func TestProbeIsNeverHeldUp(t *testing.T) {
	t.Parallel()
	s := shared(t)
	s.mistakes(t, accounts.ProbeLocal+"@"+s.hostname())
	const number = 3 // at a time
	reports := make([]probeReport, number)
	together(number, func(i int) {
		reports[i] = s.probe(t, "--timeout", "60s", "--only", "imap,imaps,pop3,pop3s,managesieve,submission,submissions,smtp,delivery,refusal")
	})
	for _, r := range reports {
		if red := r.red(); len(red) > 0 {
			t.Errorf("after guesses at its password the probe says %v", red)
		}
	}
}

// What is an alert can be said in the configuration, for each check, and better
// on the command line.
func TestProbeLimitsFromTheConfiguration(t *testing.T) {
	t.Parallel()
	s := shared(t)
	file := s.otherConfig(t, "\n[probe]\nwarning = [\"mysql.query=60\"]\ncritical = [\"disk=101:\"]\n")
	run := func(args ...string) result {
		return program(t.Context(), nil, os.Getenv(binaryVar), append([]string{"--config", file, "probe", "--retries", "0", "--only", "disk,mysql.query"}, args...)...)
	}
	if r := run(); r.code != 2 || !strings.Contains(r.stdout, "past the critical limit") || !strings.Contains(r.stdout, "limit 101:)") {
		t.Errorf("a limit in the file: %v", r)
	}
	if r := run("--critical", "disk=0:", "--warning", "disk=0:"); r.code != 0 {
		t.Errorf("a limit on the command line: %v", r)
	}
	if r := run("--format", "nagios"); r.code != 2 || !strings.Contains(r.stdout, ";60;;0") || !regexp.MustCompile(`'disk_free_[^']+'=[0-9.]+%;10:;101:;0;100`).MatchString(r.stdout) {
		t.Errorf("limits in performance data: %v", r)
	}
}

// Which address the daemons see is said for both families, and what follows
// where it is not the client's.
func TestProbeSaysWhoIsSeen(t *testing.T) {
	t.Parallel()
	s := shared(t)
	gateway := docker(t, "inspect", "--format", "{{range .NetworkSettings.Networks}}{{.Gateway}}{{end}}", s.container("postfix"))
	out := s.mustRun(t, "probe", "--only", "source-address", "--timeout", "60s")
	seen := regexp.MustCompile(`(?m)^ +(127\.0\.0\.1|::1) is seen as ([0-9a-f.:]+)(, the bridge gateway)?$`).FindAllStringSubmatch(out, -1)
	if len(seen) != 2 {
		t.Fatalf("both families are not there:\n%s", out)
	}
	hidden := false
	for _, line := range seen {
		if isGateway := line[2] == gateway; isGateway != (line[3] != "") {
			t.Errorf("the gateway is %s, and %q", gateway, line[0])
		}
		hidden = hidden || line[3] != ""
	}
	if hidden != strings.Contains(out, "no limit, ban or trust may go by it") {
		t.Errorf("what follows is not said:\n%s", out)
	}
}

// The JSON form is what its schema says, of a stack that is well and of servers
// that are not.
func TestProbeJSONIsWhatTheSchemaSays(t *testing.T) {
	t.Parallel()
	s := shared(t)
	data, err := os.ReadFile("../probe/report.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	// Closed: a key that the schema does not describe is none.
	data = bytes.ReplaceAll(data, []byte(`"type": "object",`), []byte(`"type": "object", "additionalProperties": false,`))
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("report.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("report.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		nil,
		{"--target", "127.0.0.1", "--ports", fmt.Sprintf("imaps=1,smtp=%d", s.port("smtp"))},
		{"--target", "no-such-host.invalid"},
		{"--timeout", "1s"},
	} {
		r := s.run(t, append([]string{"probe", "--format", "json"}, args...)...)
		report, err := jsonschema.UnmarshalJSON(strings.NewReader(r.stdout))
		if err == nil {
			err = schema.Validate(report)
		}
		if err != nil {
			t.Errorf("probe %v: %v: %v", args, err, r)
		}
	}
}
