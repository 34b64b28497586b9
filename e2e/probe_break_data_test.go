package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestProbeSeesBadData: certificates, each signed by the stack's own authority,
// and what is in the database.
func TestProbeSeesBadData(t *testing.T) {
	t.Parallel()
	s := newSmallStack(t)
	s.up(t, "--no-probe")
	file := filepath.Join(s.data(), "ca", "server.pem")
	given := func(service string) string {
		return filepath.Join(s.data(), "run", service, "tls", "server.pem")
	}
	everywhere := []string{file, given("dovecot"), given("postfix")}
	const day = 24 * time.Hour
	s.testBreakages(t, []breakage{
		{
			name: "the certificate on disk is served nowhere",
			do:   certified(s.hostname(), -day, 90*day, file),
			want: map[string]finding{dovecotCerts + " " + postfixCerts: {"critical", "another certificate than the one on disk: served ", "has not taken the new certificate: run `mailstack maintain`"}},
		},
		{
			name: "one service has another certificate",
			do:   certified(s.hostname(), -day, 90*day, given("dovecot")),
			want: map[string]finding{dovecotCerts: {"critical", "another certificate than the one on disk: served ", "run `mailstack maintain`"}},
		},
		{
			name:  "the certificate has expired",
			do:    certified(s.hostname(), -91*day, -day, everywhere...),
			lines: 80,
			want: map[string]finding{
				"imap imaps pop3 pop3s managesieve smtp submission submissions refusal.submission refusal.smtp " + delivered: {"critical", "TLS trouble: the certificate is valid from", ""},
				dovecotCerts + " " + postfixCerts: {"critical", "lifetime: TLS trouble: expired on ", "`mailstack maintain` renews it"},
			},
		},
		{
			name: "the certificate has little of its life left",
			do:   certified(s.hostname(), -70*day, 20*day, everywhere...),
			want: map[string]finding{dovecotCerts + " " + postfixCerts: {"warning", "past the warning limit: 20.0 of 90.0 days left", "`mailstack maintain` renews it"}},
		},
		{
			name: "the certificate is for another name",
			do:   certified("old."+s.hostname(), -day, 90*day, everywhere...),
			want: map[string]finding{
				"imap imaps pop3 pop3s managesieve smtp submission submissions refusal.submission refusal.smtp " + delivered: {"critical", "certificate is valid for old.", ""},
				dovecotCerts + " " + postfixCerts: {"critical", "name: TLS trouble: x509: certificate is valid for old.", ""},
			},
		},
		{
			name: "the probe's account has another password",
			do:   inDatabase("UPDATE account SET password = CONCAT('{SSHA512}', REPEAT('A', 104), '=='), generation = generation + 1 WHERE system_account"),
			want: map[string]finding{
				loginPorts + " refusal.submission " + delivered: {"critical", "credentials refused", "gone, disabled, or has another password: `mailstack up` sets it right"},
			},
		},
		{
			name: "the probe's account is disabled",
			do:   inDatabase("UPDATE account SET enabled = 0, generation = generation + 1 WHERE system_account"),
			want: map[string]finding{
				loginPorts + " refusal.submission " + delivered: {"critical", "credentials refused", "gone, disabled, or has another password: `mailstack up` sets it right"},
			},
		},
		{
			name: "the people's accounts are gone",
			do:   deserted("DELETE FROM account WHERE NOT system_account"),
			want: map[string]finding{"mailboxes": {"critical", "; mail for them is refused", "`mailstack account add`"}},
		},
		{
			name: "all accounts are gone",
			do:   deserted("DELETE FROM account"),
			want: map[string]finding{
				"mailboxes": {"critical", "; mail for them is refused", ""},
				loginPorts + " refusal.submission delivery.submission": {"critical", "credentials refused", "`mailstack up`"},
				"delivery.inbound": {"critical", "550 5.1.1 <mailstack-probe+", ""},
				"refusal.smtp":     {"unknown", "no message is taken now: 550 5.1.1", ""},
			},
		},
		{
			name: "a service may do more in the database than it should",
			do:   inDatabase("GRANT SELECT ON mail.account TO postfix@localhost"),
			want: map[string]finding{"mysql.rights": {"critical", "database user postfix has SELECT ON mail.account, which it must not", "`mailstack up` sets those of the services right"}},
		},
		{
			name: "a service may do less in the database than it must",
			do:   inDatabase("REVOKE SELECT ON mail.alias FROM postfix@localhost"),
			want: map[string]finding{
				"mysql.rights": {"critical", "database user postfix lacks SELECT ON mail.alias", "`mailstack up`"},
				delivered:      {"critical", "451 4.3.", ""},
				"refusal.smtp": {"unknown", "451 4.3.5 <mailstack-probe", ""},
				// Whether it is refused to write in another's name cannot be tried either.
				"refusal.submission": {"unknown", "author: not run: no message is taken now: 451 4.3.", ""},
			},
		},
	})
}

// certified puts a certificate of the stack's authority, with its key, into
// files, and has it served.
func certified(name string, from, until time.Duration, files ...string) func(t *testing.T, s *Stack) func() {
	return func(t *testing.T, s *Stack) func() {
		t.Helper()
		pair := s.issue(t, name, time.Now().Add(from), time.Now().Add(until))
		for _, file := range files {
			s.overwrite(t, file, pair)
		}
		for _, service := range []string{"dovecot", "postfix"} {
			s.reload(t, service)
		}
		return byUp(t, s)
	}
}

// issue makes a new key and a certificate for it, by the stack's authority.
func (s *Stack) issue(t *testing.T, name string, from, until time.Time) string {
	t.Helper()
	read := func(file string) []byte {
		data, err := os.ReadFile(filepath.Join(s.data(), "ca", file))
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(data)
		return block.Bytes
	}
	var b strings.Builder
	must := func(err error) {
		if err != nil {
			t.Fatalf("certificate: %v", err)
		}
	}
	signer, err := x509.ParsePKCS8PrivateKey(read("ca.key"))
	must(err)
	authority, err := x509.ParseCertificate(read("ca.pem"))
	must(err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), DNSNames: []string{name}, NotBefore: from, NotAfter: until,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	leaf, err := x509.CreateCertificate(rand.Reader, template, authority, &key.PublicKey, signer)
	must(err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	must(err)
	must(pem.Encode(&b, &pem.Block{Type: "PRIVATE KEY", Bytes: private}))
	must(pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: leaf}))
	return b.String()
}

// deserted is inDatabase for the loss of accounts, one of which has mail.
func deserted(statement string) func(t *testing.T, s *Stack) func() {
	return func(t *testing.T, s *Stack) func() {
		t.Helper()
		user, password := s.account(t)
		s.waitMail(t, user, password, "INBOX", s.deliver(t, stranger, user))
		mend := inDatabase(statement)(t, s)
		return func() {
			mend()
			s.accountNamed(t, user) // as the hint says
			s.mustRun(t, "account", "remove", user, "--yes")
		}
	}
}

// inDatabase changes the database behind everybody's back.
func inDatabase(statement string) func(t *testing.T, s *Stack) func() {
	return func(t *testing.T, s *Stack) func() {
		t.Helper()
		if _, err := s.databaseAs(t, "admin").ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
		forgetful(t, s)
		return byUp(t, s)
	}
}
