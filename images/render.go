package images

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"text/template"
)

// File is a file that a running container reads.
type File struct {
	Path     string // below the service's run directory: "config/main.cf"
	Mode     fs.FileMode
	UID, GID int
	Data     []byte
}

// The accounts of the images that files are made readable for; see
// common/rootfs/usr/local/sbin/mailstack-users.
const (
	mysqlID   = 5301
	postfixID = 5305
	rspamdID  = 5307
	valkeyID  = 5308
)

// owners says who may read a rendered file; the first line whose pattern
// (path.Match) fits the service and the path counts. The directory that holds
// all of them is the host administrator's alone: this is about who reads
// inside the container.
var owners = []struct {
	service, pattern string
	mode             fs.FileMode
	gid              int
}{
	// The container runs as this user from its first instruction.
	{"mysql", "secret/*", 0o440, mysqlID},
	{"filter", "secret/*", 0o440, rspamdID},
	{"valkey", "secret/*", 0o440, valkeyID},
	// Postfix's processes open their maps after they have become postfix, and
	// root, without CAP_DAC_OVERRIDE, by being their owner.
	{"postfix", "secret/*", 0o640, postfixID},
	// Read by a daemon that starts as root.
	{"*", "secret/*", 0o600, 0},
	// Configuration holds no secret, and is read by every process of a service.
	{"*", "config/*", 0o644, 0},
}

// Render fills the templates of a service. All problems of the values and of
// the templates come in one error; none quotes a secret. Files are sorted by
// path.
func Render(service string, v Values) ([]File, error) {
	if err := checkService(service); err != nil {
		return nil, err
	}
	if err := v.problems(); err != nil {
		return nil, fmt.Errorf("render %s: %w", service, err)
	}
	var files []File
	var errs []error
	for _, kind := range []string{"config", "secret"} {
		values := v.complete()
		if kind == "config" {
			values = v.forConfig()
		}
		names, _ := fs.Glob(embedded, path.Join(service, kind, "*")) // the pattern is well-formed
		for _, name := range names {
			data, err := renderFile(name, values)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			files = append(files, newFile(service, strings.TrimPrefix(name, service+"/"), data))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("render %s: %w", service, err)
	}
	return files, nil
}

func newFile(service, name string, data []byte) File {
	f := File{Path: name, Mode: 0o600, Data: data}
	for _, o := range owners {
		forService, _ := path.Match(o.service, service) // the patterns are above
		forName, _ := path.Match(o.pattern, name)
		if forService && forName {
			f.Mode, f.GID = o.mode, o.gid
			break
		}
	}
	return f
}

func renderFile(name string, v any) ([]byte, error) {
	source, err := embedded.ReadFile(name)
	if err != nil {
		return nil, err
	}
	t, err := template.New(name).Option("missingkey=error").Funcs(quoting).Parse(string(source))
	if err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	if err := t.Execute(&buf, v); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// quoting makes one value of one line in the format that a function is named
// for. What the format cannot say is an error, which does not quote the value.
var quoting = template.FuncMap{
	"dovecot": quoteDovecot,
	"maincf":  quoteMainCf,
	"postfix": quotePostfix,
	"plain":   quotePlain,
	"quoted":  quoteString,
	"sni":     quoteSNI,
}

// quoteDovecot makes a double-quoted string of Dovecot 2.4's configuration.
// "%{" begins a variable and "$" a reference to another setting or to the
// environment; both are refused rather than escaped, since which settings
// expand them differs.
func quoteDovecot(s string) (string, error) {
	if err := checkText(s); err != nil {
		return "", fmt.Errorf("dovecot value %w", err)
	}
	if i := strings.IndexAny(s, "%$"); i >= 0 {
		return "", fmt.Errorf("dovecot value holds %q, which Dovecot may expand", s[i])
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`, nil
}

// quoteString makes a double-quoted string as JSON, UCL (Rspamd) and Valkey's
// configuration have it. "${" would begin a variable in UCL.
func quoteString(s string) (string, error) {
	if err := checkText(s); err != nil {
		return "", fmt.Errorf("string %w", err)
	}
	if strings.Contains(s, "$") {
		return "", errors.New(`string holds "$", which Rspamd may expand`)
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`, nil
}

// quoteMainCf makes a value for main.cf: "$$" is a literal "$", see postconf(5).
func quoteMainCf(s string) (string, error) {
	s, err := quotePostfix(s)
	return strings.ReplaceAll(s, "$", "$$"), err
}

// quotePostfix makes a value for lookup tables and for the files that configure
// them, where nothing is expanded, but space at the ends is lost.
func quotePostfix(s string) (string, error) {
	if err := checkText(s); err != nil {
		return "", fmt.Errorf("postfix value %w", err)
	}
	if strings.TrimSpace(s) != s {
		return "", errors.New("postfix value begins or ends with space")
	}
	return s, nil
}

// quotePlain makes a line of its own, for files that hold one value.
func quotePlain(s string) (string, error) {
	if err := checkText(s); err != nil {
		return "", fmt.Errorf("value %w", err)
	}
	return s, nil
}
