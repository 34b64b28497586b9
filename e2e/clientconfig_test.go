package e2e

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"encoding/xml"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"mailstack/certs"
)

// TestClientConfig: the files are what a web server with a directory for each
// name can serve, and what is in them is this stack: its ports, which take the
// logins, and its authority.
func TestClientConfig(t *testing.T) {
	t.Parallel()
	s := shared(t)
	domain := s.domain(t)
	dir := filepath.Join(t.TempDir(), "web")
	printed := s.mustRun(t, "clientconfig", "--out", dir, domain)
	if n := strings.Count(printed, "\n"); n != 4 {
		t.Errorf("%d files:\n%s", n, printed)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, _ := net.SplitHostPort(r.Host)
		http.FileServer(http.Dir(filepath.Join(dir, host))).ServeHTTP(w, r)
	}))
	defer server.Close()
	fetch := func(host, path string) []byte {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Host = host + ":80"
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		var body bytes.Buffer
		if _, err := body.ReadFrom(response.Body); err != nil || response.StatusCode != http.StatusOK {
			t.Fatalf("%s of %s: %s, %v", path, host, response.Status, err)
		}
		return body.Bytes()
	}
	s.testAutoconfig(t, fetch("autoconfig."+domain, "/mail/config-v1.1.xml"))
	if answer := string(fetch("autodiscover."+domain, "/autodiscover/autodiscover.xml")); !strings.Contains(answer, fmt.Sprintf("<Port>%d</Port>", s.port("imaps"))) {
		t.Errorf("autodiscover:\n%s", answer)
	}
	profile := fetch("autoconfig."+domain, "/mail/"+domain+".mobileconfig")
	if got, want := roots(t, profile), []string{s.authority(t)}; !slices.Equal(got, want) {
		t.Errorf("the profile trusts %x, the authority is %x", got, want)
	}
	if printed := s.mustRun(t, "clientconfig", domain, "--print", "mobileconfig"); printed != string(profile) {
		t.Errorf("printed is\n%s", printed)
	}
	// No other mail server knows this authority.
	if policy := string(fetch("mta-sts."+domain, "/.well-known/mta-sts.txt")); !strings.Contains(policy, "\nmode: none\n") {
		t.Errorf("policy:\n%s", policy)
	}
}

// testAutoconfig logs in as the document says.
func (s *Stack) testAutoconfig(t *testing.T, content []byte) {
	t.Helper()
	type server struct {
		Type   string `xml:"type,attr"`
		Host   string `xml:"hostname"`
		Port   int    `xml:"port"`
		Socket string `xml:"socketType"`
		User   string `xml:"username"`
	}
	var document struct {
		Incoming []server `xml:"emailProvider>incomingServer"`
		Outgoing []server `xml:"emailProvider>outgoingServer"`
	}
	if err := xml.Unmarshal(content, &document); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"imaps": "imap SSL", "imap": "imap STARTTLS", "pop3s": "pop3 SSL", "pop3": "pop3 STARTTLS",
		"submissions": "smtp SSL", "submission": "smtp STARTTLS",
	}
	for _, server := range append(document.Incoming, document.Outgoing...) {
		if server.Host != s.hostname() || server.User != "%EMAILADDRESS%" {
			t.Errorf("%+v", server)
		}
		for key, kind := range want {
			if s.port(key) == server.Port && kind == server.Type+" "+server.Socket {
				delete(want, key)
			}
		}
	}
	if len(want) > 0 {
		t.Errorf("not said, or not so: %v, in\n%s", want, content)
	}
	user, password := s.account(t)
	s.expectLogins(t, user, password, true)
}

// roots are the authorities that a profile trusts, in DER.
func roots(t *testing.T, profile []byte) (all []string) {
	t.Helper()
	for _, data := range regexp.MustCompile(`(?s)<data>(.*?)</data>`).FindAllSubmatch(profile, -1) {
		der, err := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(data[1])))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := x509.ParseCertificate(der); err != nil {
			t.Fatal(err)
		}
		all = append(all, string(der))
	}
	return all
}

// authority is the certificate of the stack's own authority, in DER.
func (s *Stack) authority(t *testing.T) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(s.layout().CADir(), certs.AuthorityFile))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(content)
	if block == nil {
		t.Fatalf("no certificate in %q", content)
	}
	return string(block.Bytes)
}
