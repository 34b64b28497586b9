package clientconfig

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mailstack/certs/certstest"
)

var update = flag.Bool("update", false, "write golden files anew")

func server() Server {
	return Server{
		Domain: "example.org", Hostname: "mail.example.org", Stack: "paper", Known: true,
		Ports: map[string]uint16{
			"smtp": 25, "submission": 587, "submissions": 465, "imap": 143, "imaps": 993, "pop3": 110, "pop3s": 995,
		},
	}
}

func mustMake(t *testing.T, kind string, s Server) File {
	t.Helper()
	f, err := Make(kind, s)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestFiles: what is written and where it is found, byte for byte.
func TestFiles(t *testing.T) {
	for _, kind := range Kinds {
		f := mustMake(t, kind, server())
		golden := filepath.Join("testdata", f.Host, f.Path)
		if *update {
			if err := errors.Join(os.MkdirAll(filepath.Dir(golden), 0o755), os.WriteFile(golden, f.Content, 0o644)); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(f.Content)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", golden, diff)
		}
	}
	if _, err := Make("nonsense", server()); err == nil || !strings.Contains(err.Error(), `"nonsense"`) {
		t.Errorf("no such file: %v", err)
	}
}

// node is any element of a document.
type node struct {
	XMLName  xml.Name
	Attrs    []xml.Attr `xml:",any,attr"`
	Text     string     `xml:",chardata"`
	Children []node     `xml:",any"`
}

func parse(t *testing.T, content []byte) node {
	t.Helper()
	var root node
	decoder := xml.NewDecoder(bytes.NewReader(content))
	if err := decoder.Decode(&root); err != nil {
		t.Fatalf("%v in\n%s", err, content)
	}
	if rest := content[decoder.InputOffset():]; strings.TrimSpace(string(rest)) != "" {
		t.Fatalf("something follows the document: %q", rest)
	}
	return root
}

// all are the texts of the elements of a path.
func (n node) all(path ...string) (texts []string) {
	if len(path) == 0 {
		return []string{strings.TrimSpace(n.Text)}
	}
	for _, c := range n.Children {
		if c.XMLName.Local == path[0] {
			texts = append(texts, c.all(path[1:]...)...)
		}
	}
	return texts
}

// TestAutoconfig: the document has what Thunderbird reads, TLS first.
func TestAutoconfig(t *testing.T) {
	root := parse(t, mustMake(t, "autoconfig", server()).Content)
	if root.XMLName.Local != "clientConfig" || len(root.Attrs) != 1 || root.Attrs[0].Value != "1.1" {
		t.Errorf("root %v %v", root.XMLName, root.Attrs)
	}
	for path, want := range map[string]string{
		"emailProvider/domain":                        "example.org",
		"emailProvider/incomingServer/hostname":       strings.Repeat("mail.example.org ", 4),
		"emailProvider/incomingServer/port":           "993 143 995 110",
		"emailProvider/incomingServer/socketType":     "SSL STARTTLS SSL STARTTLS",
		"emailProvider/incomingServer/username":       strings.Repeat("%EMAILADDRESS% ", 4),
		"emailProvider/incomingServer/authentication": strings.Repeat("password-cleartext ", 4),
		"emailProvider/outgoingServer/port":           "465 587",
		"emailProvider/outgoingServer/socketType":     "SSL STARTTLS",
	} {
		if got := strings.Join(root.all(strings.Split(path, "/")...), " "); got != strings.TrimSpace(want) {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}

// TestAutodiscover: the namespaces are those without which Outlook reads
// nothing, and there is one server for each protocol.
func TestAutodiscover(t *testing.T) {
	s := server()
	s.Ports["imaps"], s.Ports["submissions"] = 0, 0
	root := parse(t, mustMake(t, "autodiscover", s).Content)
	const schema = "http://schemas.microsoft.com/exchange/autodiscover/"
	if root.XMLName.Space != schema+"responseschema/2006" || root.Children[0].XMLName.Space != schema+"outlook/responseschema/2006a" {
		t.Errorf("namespaces %q, %q", root.XMLName.Space, root.Children[0].XMLName.Space)
	}
	protocol := func(field string) string {
		return strings.Join(root.all("Response", "Account", "Protocol", field), " ")
	}
	for field, want := range map[string]string{"Type": "IMAP POP3 SMTP", "Port": "143 995 587", "Encryption": "TLS SSL TLS", "SPA": "off off off"} {
		if got := protocol(field); got != want {
			t.Errorf("%s: %q, want %q", field, got, want)
		}
	}
}

// plist reads a property list: dictionaries, arrays, strings, numbers, truths
// and data.
func plist(t *testing.T, n node) any {
	t.Helper()
	switch n.XMLName.Local {
	case "plist":
		return plist(t, n.Children[0])
	case "dict":
		if len(n.Children)%2 != 0 {
			t.Fatalf("a dictionary of %d elements", len(n.Children))
		}
		dict := map[string]any{}
		for i := 0; i < len(n.Children); i += 2 {
			if key := n.Children[i]; key.XMLName.Local != "key" || dict[key.Text] != nil {
				t.Fatalf("%s %q is no key, or is one twice", key.XMLName.Local, key.Text)
			}
			dict[n.Children[i].Text] = plist(t, n.Children[i+1])
		}
		return dict
	case "array":
		array := []any{}
		for _, c := range n.Children {
			array = append(array, plist(t, c))
		}
		return array
	case "string", "integer":
		return n.Text
	case "true", "false":
		return n.XMLName.Local
	case "data":
		data, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(n.Text), ""))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	t.Fatalf("a property list has no %s", n.XMLName.Local)
	return nil
}

// TestMobileconfig: the profile sets up mail, and trusts the authority where
// there is one to be told of.
func TestMobileconfig(t *testing.T) {
	authority := certstest.Certificates(certstest.New(t, time.Now()).Root)
	for _, c := range []struct {
		name     string
		change   func(s *Server)
		payloads []string
		kind     string
		in, out  string
	}{
		{"public", func(*Server) {}, []string{"com.apple.mail.managed"}, "EmailTypeIMAP", "993", "465"},
		{"own authority", func(s *Server) { s.Known, s.Authority = false, authority }, []string{"com.apple.security.root", "com.apple.mail.managed"}, "EmailTypeIMAP", "993", "465"},
		{"POP3 with STARTTLS", func(s *Server) { s.Ports = map[string]uint16{"pop3": 110, "submission": 587} }, []string{"com.apple.mail.managed"}, "EmailTypePOP", "110", "587"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := server()
			c.change(&s)
			profile := plist(t, parse(t, mustMake(t, "mobileconfig", s).Content)).(map[string]any)
			var payloads, ids []string
			var mail map[string]any
			for _, p := range profile["PayloadContent"].([]any) {
				mail = p.(map[string]any) // the last is
				payloads = append(payloads, mail["PayloadType"].(string))
				ids = append(ids, mail["PayloadUUID"].(string))
			}
			if diff := cmp.Diff(c.payloads, payloads); diff != "" {
				t.Errorf("payloads (-want +got):\n%s", diff)
			}
			ids = append(ids, profile["PayloadUUID"].(string))
			seen := map[string]bool{}
			for _, id := range ids {
				if seen[id] || !regexp.MustCompile(`^[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}$`).MatchString(id) {
					t.Errorf("UUID %s is none, or is there twice", id)
				}
				seen[id] = true
			}
			want := map[string]any{
				"EmailAccountType": c.kind, "IncomingMailServerHostName": "mail.example.org", "OutgoingMailServerHostName": "mail.example.org",
				"IncomingMailServerPortNumber": c.in, "OutgoingMailServerPortNumber": c.out,
				"IncomingMailServerUseSSL": "true", "OutgoingMailServerUseSSL": "true",
				"IncomingMailServerAuthentication": "EmailAuthPassword", "OutgoingMailServerAuthentication": "EmailAuthPassword",
			}
			for key, value := range want {
				if mail[key] != value {
					t.Errorf("%s: %v, want %v", key, mail[key], value)
				}
			}
		})
	}
}

// TestPolicy: a policy that forbids mail without TLS is for certificates that
// everybody trusts; without, whoever has an older one is let go.
func TestPolicy(t *testing.T) {
	s := server()
	policy := PolicyFor(s)
	if !regexp.MustCompile(`\Aversion: STSv1\nmode: enforce\nmx: mail\.example\.org\nmax_age: 604800\n\z`).Match(policy.Text()) {
		t.Errorf("%q", policy.Text())
	}
	if id := policy.ID(); !regexp.MustCompile(`^[0-9a-z]{1,32}$`).MatchString(id) || id != PolicyFor(s).ID() {
		t.Errorf("id %q", id)
	}
	other := s
	other.Hostname = "mx.example.org"
	if PolicyFor(other).ID() == policy.ID() {
		t.Error("another policy has the same id")
	}
	for name, change := range map[string]func(s *Server){
		"a certificate that not everybody knows": func(s *Server) { s.Known = false },
		"no mail from outside":                   func(s *Server) { s.Ports["smtp"] = 0 },
	} {
		s := server()
		change(&s)
		if p := PolicyFor(s); p.ID() != "" || !strings.Contains(string(p.Text()), "\nmode: none\n") {
			t.Errorf("%s: id %q, %q", name, p.ID(), p.Text())
		}
	}
}

// TestNothingOn: without a port to read or one to send there is no document
// that would be of use.
func TestNothingOn(t *testing.T) {
	for _, off := range [][]string{{"imap", "imaps", "pop3", "pop3s"}, {"submission", "submissions"}} {
		s := server()
		for _, key := range off {
			s.Ports[key] = 0
		}
		for _, kind := range []string{"autoconfig", "autodiscover", "mobileconfig"} {
			if _, err := Make(kind, s); !errors.Is(err, errNothingOn) {
				t.Errorf("%s without %v: %v", kind, off, err)
			}
		}
		if _, err := Make("mta-sts", s); err != nil {
			t.Error(fmt.Errorf("the policy needs none of them: %w", err))
		}
	}
}
