package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"mailstack/config"
)

// block is a fenced block of a Markdown file.
type block struct {
	language string
	line     int // of its first line in the file
	lines    []string
}

// document reads a Markdown file of the repository's root.
func document(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// blocks gives the fenced blocks in a language, and the text without any.
func blocks(text, language string) (found []block, prose string) {
	var rest strings.Builder
	var current *block
	for i, line := range strings.Split(text, "\n") {
		fence, isFence := strings.CutPrefix(line, "```")
		switch {
		case isFence && current == nil:
			current = &block{language: fence, line: i + 2}
		case isFence:
			if current.language == language {
				found = append(found, *current)
			}
			current = nil
		case current != nil:
			current.lines = append(current.lines, line)
		default:
			rest.WriteString(line + "\n")
		}
	}
	return found, rest.String()
}

// onlyBlock is the one block that README.md has in a language.
func onlyBlock(t *testing.T, language string) block {
	t.Helper()
	found, _ := blocks(document(t, "README.md"), language)
	if len(found) != 1 {
		t.Fatalf("README.md has %d blocks of %s, not one", len(found), language)
	}
	return found[0]
}

// TestReadmeUp holds the output of up that README.md shows against that of the
// shared stack: the same lines in the same order, but for names, ports and times.
func TestReadmeUp(t *testing.T) {
	t.Parallel()
	s := shared(t)
	var stderr, stdout []string // of the README: progress, results
	for _, line := range onlyBlock(t, "text").lines {
		if len(stdout) > 0 || strings.HasPrefix(line, "demo is up ") {
			stdout = append(stdout, line)
		} else {
			stderr = append(stderr, line)
		}
	}
	if !strings.HasPrefix(stderr[0], `demonstration stack "demo"`) {
		t.Errorf("README.md: the output begins with %q", stderr[0])
	}
	stderr = stderr[1:] // no other stack has it
	// And the demonstration does not have this one.
	result := regexp.MustCompile(`\nStill to do: .*\n`).ReplaceAllString(sharedUp.stdout, "")
	// Nor has a machine that does nothing else.
	result = regexp.MustCompile(`(?m)^ +the try before: .*\n`).ReplaceAllString(result, "")
	if err := compare(s.shape(stdout), s.shape(strings.Split(strings.TrimSpace(result), "\n"))); err != nil {
		t.Errorf("README.md, what up prints: %v", err)
	}
	if err := compare(s.shape(stderr), s.shape(strings.Split(strings.TrimSpace(sharedUp.stderr), "\n"))); err != nil {
		t.Errorf("README.md, what up shows of its progress: %v", err)
	}
}

// shape takes out of up's output what differs from stack to stack and from run
// to run.
func (s *Stack) shape(lines []string) []string {
	pairs := []string{s.postmaster(), "demo@mail.localhost", s.hostname(), "mail.localhost", s.data(), "/var/lib/mailstack-demo", s.name, "demo"}
	for key, standard := range standardPorts() {
		pairs = append(pairs, fmt.Sprintf(" port %d ", s.port(key)), fmt.Sprintf(" port %d ", standard))
	}
	named := strings.NewReplacer(pairs...)
	var shaped []string
	for _, line := range lines {
		line = named.Replace(line)
		for _, varying := range []struct{ pattern, fixed string }{
			{`\d+\.\d+ s\b`, "T s"},
			{`\d+/\d+ `, "N/N "},
			{`(password: )\S+`, "${1}P"},
			{`\s+`, " "},
		} {
			line = regexp.MustCompile(varying.pattern).ReplaceAllString(line, varying.fixed)
		}
		shaped = append(shaped, strings.TrimSpace(line))
	}
	return shaped
}

func standardPorts() map[string]uint16 {
	l := config.Default().Listen
	return map[string]uint16{
		"smtp": l.SMTP, "submission": l.Submission, "submissions": l.Submissions, "imap": l.IMAP,
		"imaps": l.IMAPS, "pop3": l.POP3, "pop3s": l.POP3S, "managesieve": l.ManageSieve,
	}
}

// compare finds the first line of want that is not in got where it should be.
// "…" in want stands for any lines.
func compare(want, got []string) error {
	skip := false
	for i, line := range want {
		if line == "…" {
			skip = true
			continue
		}
		at := slices.Index(got, line)
		switch {
		case at < 0:
			return fmt.Errorf("line %d, %q, is not in the real output, or not there:\n%s", i+1, line, strings.Join(got, "\n"))
		case at > 0 && !skip:
			return fmt.Errorf("before line %d, %q, the real output has more:\n%s", i+1, line, strings.Join(got[:at], "\n"))
		}
		got, skip = got[at+1:], false
	}
	if len(got) > 0 && !skip {
		return fmt.Errorf("the real output goes on:\n%s", strings.Join(got, "\n"))
	}
	return nil
}

func TestReadmeGraph(t *testing.T) {
	t.Parallel()
	r := program(t.Context(), nil, os.Getenv(binaryVar), "graph", "--config", "../mailstack.toml")
	if want := strings.Join(onlyBlock(t, "mermaid").lines, "\n") + "\n"; r.code != 0 || r.stdout != want {
		t.Errorf("README.md has\n%s\nand mailstack graph gives %v", want, r)
	}
}

func TestReadmeConfiguration(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "mailstack.toml")
	if err := os.WriteFile(path, []byte(strings.Join(onlyBlock(t, "toml").lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Load(path); err != nil {
		t.Error(err)
	}
}

// TestReadmeMentions: every command and option that a sentence or the table of
// commands names is one, and the table has all commands.
func TestReadmeMentions(t *testing.T) {
	t.Parallel()
	help := func(words ...string) string {
		return program(t.Context(), nil, os.Getenv(binaryVar), append(words, "--help")...).stdout
	}
	_, prose := blocks(document(t, "README.md"), "")
	for _, span := range regexp.MustCompile("`mailstack( [^`]*)?`").FindAllStringSubmatch(prose, -1) {
		var words, flags []string
		for _, word := range strings.Fields(span[1]) {
			if strings.HasPrefix(word, "-") {
				flags = append(flags, word)
			} else {
				words = append(words, word)
			}
		}
		text := help(words...)
		if !strings.Contains(text, "\n  mailstack "+strings.TrimSpace(strings.Join(words, " ")+" [")) &&
			!strings.Contains(text, "\n  mailstack "+strings.Join(words, " ")) {
			t.Errorf("README.md: %s is no command", span[0])
		}
		for _, flag := range flags {
			if !regexp.MustCompile(`(?m)^ .*` + flag + `\b`).MatchString(text) {
				t.Errorf("README.md: %s has no such option", span[0])
			}
		}
	}
	for _, row := range regexp.MustCompile(`(?m)^  ([a-z]+) +[A-Z]`).FindAllStringSubmatch(help(), -1) {
		if command := row[1]; command != "help" && command != "completion" && !strings.Contains(prose, "\n| `mailstack "+command+"` |") {
			t.Errorf("README.md: the table of commands has no %s", command)
		}
	}
	for _, row := range regexp.MustCompile("(?m)^\\| `mailstack ([a-z]+)` \\| (`[a-z]+`(, `[a-z]+`)+)").FindAllStringSubmatch(prose, -1) {
		for _, sub := range regexp.MustCompile(`[a-z]+`).FindAllString(row[2], -1) {
			if !strings.Contains(help(row[1], sub), "mailstack "+row[1]+" "+sub) {
				t.Errorf("README.md: there is no mailstack %s %s", row[1], sub)
			}
		}
	}
}

// TestDocumentsNameWhatExists: links lead somewhere, CONTRIBUTING.md knows every
// package, and paths that it names exist.
func TestDocumentsNameWhatExists(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"README.md", "CONTRIBUTING.md"} {
		_, prose := blocks(document(t, name), "")
		for _, link := range regexp.MustCompile(`\]\(([^)]+)\)`).FindAllStringSubmatch(prose, -1) {
			if anchor, ok := strings.CutPrefix(link[1], "#"); ok {
				heading := "\n## " + strings.ReplaceAll(anchor, "-", " ") + "\n"
				if !strings.Contains(strings.ToLower(prose), heading) {
					t.Errorf("%s: no heading for %s", name, link[1])
				}
			} else if _, err := os.Stat(filepath.Join("..", link[1])); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	_, prose := blocks(document(t, "CONTRIBUTING.md"), "")
	for _, path := range regexp.MustCompile("`([a-z0-9.]+/[a-zA-Z0-9_./-]*|[A-Za-z]+\\.[a-z]+|Makefile)`").FindAllStringSubmatch(prose, -1) {
		if _, err := os.Stat(filepath.Join("..", path[1])); err != nil {
			t.Errorf("CONTRIBUTING.md: %v", err)
		}
	}
	packages, err := exec.Command("go", "list", "mailstack/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for name := range strings.FieldsSeq(string(packages)) {
		if dir := strings.TrimPrefix(name, "mailstack/") + "/"; !strings.Contains(prose, "`"+dir+"`") {
			t.Errorf("CONTRIBUTING.md does not say what %s is for", dir)
		}
	}
}

// step is how a command of a document is run if not as it stands there.
type step struct {
	skip          bool   // it is not run
	add           string // it is run with this behind it
	before, after func(*testing.T)
}

// follow runs all commands of a document, in its order, by steps or, if asItIs
// says that they need none, as they stand there.
func follow(t *testing.T, name string, steps map[string]step, asItIs func(line string) bool, run func(*testing.T, string) result) {
	t.Helper()
	met := map[string]bool{}
	scripts, _ := blocks(document(t, name), "sh")
	for _, script := range scripts {
		for i, line := range script.lines {
			step, special := steps[line]
			if !special && !asItIs(line) {
				t.Fatalf("%s:%d: this test does not know how to run %q", name, script.line+i, line)
			}
			met[line] = true
			if step.before != nil {
				step.before(t)
			}
			if !step.skip {
				if r := run(t, line+step.add); r.code != 0 {
					t.Fatalf("%s:%d: %s: %v", name, script.line+i, line, r)
				}
			}
			if step.after != nil {
				step.after(t)
			}
		}
	}
	for line := range steps {
		if !met[line] {
			t.Errorf("%s no longer has %q", name, line)
		}
	}
}

// TestSecurityNamesTests: what SECURITY.md promises is tried out by tests that are
// there: each name is a test's, or the beginning of the names of some.
func TestSecurityNamesTests(t *testing.T) {
	t.Parallel()
	names := regexp.MustCompile("`((?:Test|Fuzz)[A-Z][A-Za-z0-9]*)`").FindAllStringSubmatch(document(t, "SECURITY.md"), -1)
	if len(names) < 10 {
		t.Fatalf("SECURITY.md names %d tests", len(names))
	}
	files, err := filepath.Glob("../*/*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	deeper, err := filepath.Glob("../*/*/*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, file := range append(files, deeper...) {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(data)
	}
	for _, name := range names {
		if !strings.Contains(all.String(), "\nfunc "+name[1]+"(") {
			t.Errorf("SECURITY.md names %s, and there is no such test", name[1])
		}
	}
}
