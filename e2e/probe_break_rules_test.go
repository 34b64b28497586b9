package e2e

import (
	"strings"
	"testing"
)

// TestProbeSeesBrokenRules: a configuration that was changed by hand. Nothing is
// down, users notice nothing, and something is allowed that must not be.
func TestProbeSeesBrokenRules(t *testing.T) {
	t.Parallel()
	s := newSmallStack(t)
	s.up(t, "--no-probe")
	s.testBreakages(t, []breakage{
		{
			name: "open relay",
			do: upped(edited("postfix", "main.cf",
				"smtpd_relay_restrictions     = reject_unauth_destination", "smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination",
				"mynetworks = 127.0.0.0/8 [::1]/128", "mynetworks = 0.0.0.0/0")),
			want: map[string]finding{
				"refusal.smtp":   {"critical", "relay: taken, must be refused: open relay: mail to <mailstack-probe@example.com> is taken", "`mailstack up` restores"},
				"source-address": {"critical", "open relay: mail to elsewhere is taken", "`mailstack up` restores"},
			},
		},
		{
			name: "VRFY",
			do:   edited("postfix", "main.cf", "disable_vrfy_command = yes", "disable_vrfy_command = no"),
			want: map[string]finding{"refusal.smtp": {"critical", "VRFY tells which addresses there are", "`mailstack up`"}},
		},
		{
			name: "logins on port 25",
			do:   edited("postfix", "main.cf", "smtpd_sasl_type = dovecot", "smtpd_sasl_type = dovecot\nsmtpd_sasl_auth_enable = yes"),
			want: map[string]finding{"refusal.smtp": {"critical", "login: taken, must be refused: AUTH PLAIN LOGIN is offered on a port that has no logins", ""}},
		},
		{
			name: "users' addresses are taken on port 25",
			do:   edited("postfix", "main.cf", "smtpd_sender_restrictions    = check_sender_access $hosted_senders_map", "smtpd_sender_restrictions ="),
			want: map[string]finding{"refusal.smtp": {"critical", "mail from the hosted address <mailstack-probe@", ""}},
		},
		{
			name: "smuggling",
			do: edited("postfix", "main.cf",
				"smtpd_forbid_bare_newline = normalize", "smtpd_forbid_bare_newline = no",
				"smtpd_forbid_unauth_pipelining = yes", "smtpd_forbid_unauth_pipelining = no"),
			want: map[string]finding{"refusal.smtp": {"critical", "smuggling: taken, must be refused: an end of data that is none is taken", ""}},
		},
		{
			name: "users send as anybody",
			do:   edited("postfix", "main.cf", "    reject_sender_login_mismatch\n", "    permit\n"),
			want: map[string]finding{"refusal.submission": {"critical", "may send as <postmaster@", ""}},
		},
		{
			name: "users write as anybody",
			do:   edited("postfix", "master.cf", "-o smtpd_milters=$submission_milters", "-o smtpd_milters="),
			want: map[string]finding{"refusal.submission": {"critical", "may write in the name of <postmaster@", ""}},
		},
		{
			name: "users send as nobody",
			long: true,
			do:   edited("postfix", "main.cf", "inline:{ {<> = 550 5.7.1 The null sender is not for submission} }", "inline:{ {<> = OK} }"),
			want: map[string]finding{"refusal.submission": {"critical", "the null sender is taken after login", ""}},
		},
		{
			name: "the probe may write to the world",
			long: true,
			do:   edited("postfix", "main.cf", "{550 5.7.1 The probe may write to itself only}", "OK"),
			want: map[string]finding{"refusal.submission": {"critical", "the probe's account can mail <mailstack-probe@example.com>", ""}},
		},
		{
			name: "passwords in the clear for Dovecot",
			do:   edited("dovecot", "dovecot.conf", "ssl = required", "ssl = yes\nauth_allow_cleartext = yes"),
			want: map[string]finding{dovecotNo: {"critical", "login before TLS: taken, must be refused", "close this port"}},
		},
		{
			name: "passwords in the clear for Postfix",
			long: true,
			do: allOf(
				edited("postfix", "main.cf", "smtpd_tls_auth_only      = yes", "smtpd_tls_auth_only = no"),
				edited("postfix", "master.cf", "-o syslog_name=postfix/submission\n  -o smtpd_tls_security_level=encrypt", "-o syslog_name=postfix/submission\n  -o smtpd_tls_security_level=may"),
			),
			want: map[string]finding{"refusal.submission": {"critical", "AUTH PLAIN LOGIN is offered without TLS", ""}},
		},
		{
			name: "old TLS for Dovecot",
			do:   edited("dovecot", "dovecot.conf", "ssl_min_protocol = TLSv1.2", "ssl_min_protocol = TLSv1", "\nssl_cipher_list = ", "\nssl_cipher_list = ALL:@SECLEVEL=0:"),
			want: map[string]finding{dovecotCerts: {"critical", "protocol floor: taken, must be refused: TLS 1.1 is spoken", ""}},
		},
		{
			name: "old TLS for Postfix",
			long: true,
			do: edited("postfix", "main.cf", "protocols           = >=TLSv1.2", "protocols           = >=TLSv1", "mandatory_protocols = >=TLSv1.2", "mandatory_protocols = >=TLSv1",
				"tls_high_cipherlist = ", "tls_high_cipherlist = ALL:@SECLEVEL=0:"),
			want: map[string]finding{postfixCerts: {"critical", "protocol floor: taken, must be refused: TLS 1.1 is spoken", ""}},
		},
		{
			name: "a listener is off behind its published port",
			do:   edited("dovecot", "dovecot.conf", "port = 993", "port = 0"),
			may:  "containers", // the health check finds it too, some time later
			want: map[string]finding{"imaps refusal.imap cert.imaps " + delivered: {"critical", "connection closed: before the server said anything", ""}},
		},
		{
			name: "another protocol on a port",
			do:   edited("dovecot", "dovecot.conf", "port = 143", "port = 1430", "port = 110\n", "port = 143\n"),
			may:  "containers",
			want: map[string]finding{
				"imap cert.imap refusal.imap": {"critical", `not the protocol: banner "+OK`, "something else listens on this port"},
				"pop3 cert.pop3 refusal.pop3": {"critical", "connection closed", ""},
			},
		},
		{
			name: "delivery is refused",
			do:   edited("dovecot", "dovecot.conf", "unix_listener /socket/dovecot/lmtp {", "unix_listener /socket/dovecot/elsewhere {"),
			wait: "10s",
			want: map[string]finding{
				"sockets.postfix.dovecot/lmtp": {"critical", "it does not exist", "dovecot, which listens there, does not run, or has lost it"},
				delivered:                      {"critical", "message still in the queue", "`mailstack logs postfix`"},
			},
		},
		{
			name: "a Sieve script deletes the message",
			do:   discarding,
			wait: "10s",
			want: map[string]finding{delivered: {"critical", "and neither in INBOX nor in the queue", "Sieve script?"}},
		},
		{
			name: "mail is put on hold, and much of it",
			do:   holding,
			wait: "10s",
			want: map[string]finding{
				delivered: {"critical", "message still in the queue", "on hold waits until somebody releases"},
				"queue":   {"warning", "messages wait, 0 of them deferred", "`mailstack logs postfix` says why"},
			},
		},
	})
}

// upped is a breakage that is mended by `mailstack up`, as its hint says.
func upped(do func(t *testing.T, s *Stack) func()) func(t *testing.T, s *Stack) func() {
	return func(t *testing.T, s *Stack) func() {
		t.Helper()
		do(t, s)
		return byUp(t, s)
	}
}

// discarding gives the probe's account a Sieve script that deletes everything.
func discarding(t *testing.T, s *Stack) func() {
	t.Helper()
	user, password := "mailstack-probe@"+s.hostname(), s.secret(t, "probe")
	s.sieve(t, user, password, "discard;")
	return func() { s.sieve(t, user, password, "keep;") }
}

// holding puts all mail on hold, and then sends more than the queue may have.
func holding(t *testing.T, s *Stack) func() {
	t.Helper()
	user, _ := s.account(t)
	release := edited("postfix", "main.cf", "smtpd_helo_required = yes", "smtpd_helo_required = yes\nsmtpd_end_of_data_restrictions = check_client_access static:HOLD")(t, s)
	send := func(n int) {
		d := s.line(t, "smtp")
		defer d.conn.Close()
		d.smtp(t, "")
		d.smtp(t, "EHLO elsewhere.example")
		for range n {
			d.expect(t, "MAIL FROM:<"+stranger+">", "250")
			d.expect(t, "RCPT TO:<"+user+">", "250")
			d.expect(t, "DATA", "354")
			d.expect(t, strings.TrimSuffix(message(stranger, user, "one of many", "x"), "\r\n")+"\r\n.", "250")
		}
	}
	waitUntil(t, bounded, "mail on hold", func() (bool, string) {
		send(1) // the first may still find a process with the old configuration
		queue, _ := s.exec(t, "postfix", "postqueue", "-j")
		return strings.Contains(queue, `"hold"`), queue
	})
	send(101)
	return func() {
		release()
		if out, code := s.exec(t, "postfix", "postsuper", "-d", "ALL", "hold"); code != 0 {
			t.Errorf("postsuper: %s", out)
		}
	}
}
