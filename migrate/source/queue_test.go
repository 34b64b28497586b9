package source

import (
	"io"
	"strings"
	"testing"

	"mailstack/migrate"

	"github.com/google/go-cmp/cmp"
)

// What `postqueue -j` says on Debian 12.
const twoQueued = `{"queue_name": "deferred", "queue_id": "4Xk1Jz2Lz1z9vc", "arrival_time": 1700000000, "message_size": 512, "forced_expire": false, ` +
	`"sender": "MAILER-DAEMON", "recipients": [{"address": "bob@example.org", "delay_reason": "connect: refused"}, {"address": "x@elsewhere.example"}]}
{"queue_name": "hold", "queue_id": "0123AB", "arrival_time": 1700000001, "message_size": 9, "forced_expire": false, "sender": "a@b.example", "recipients": []}
`

// TestMailQueue: what waits is read, whether Postfix runs or not, also where it is
// in a container.
func TestMailQueue(t *testing.T) {
	for _, test := range []struct {
		name     string
		programs map[string]string
		facts    Facts
		running  bool
	}{
		{"stopped", map[string]string{
			"postfix": "exit 1", "postqueue": "cat <<'END'\n" + twoQueued + "END\necho 'warning: Mail system is down' >&2",
			"postcat": "[ \"$*\" = '-bh -q 0123AB' ] && printf 'Subject: x\n\nbody\n'",
		}, Facts{MTA: MTA{Name: "Postfix 3.7.11"}}, false},
		{"running in a container", map[string]string{
			"docker": "[ \"$1 $2\" = 'exec mailserver' ] || exit 1\nshift 2\ncase \"$*\" in\n'postfix status') exit 0;;\n'postqueue -j') cat <<'END'\n" + twoQueued +
				"END\n;;\n'postcat -bh -q 0123AB') printf 'Subject: x\n\nbody\n';;\nesac",
		}, Facts{MTA: MTA{Name: "Postfix 3.5", Container: "mailserver"}, Engine: "docker", Dovecot: Dovecot{Container: "mailserver"}}, true},
		{"running in a container of its own", map[string]string{
			"docker": "[ \"$1 $4\" = 'inspect mx' ] && { echo true; exit; }\n[ \"$1 $2\" = 'exec mx' ] || exit 1\nshift 2\ncase \"$*\" in\n'postqueue -j') cat <<'END'\n" + twoQueued +
				"END\n;;\n'postcat -bh -q 0123AB') printf 'Subject: x\n\nbody\n';;\nesac",
		}, Facts{MTA: MTA{Name: "Postfix 3.10", Container: "mx"}, Engine: "docker", Dovecot: Dovecot{Container: "imap"}}, true},
		{"stopped in a container of its own", map[string]string{
			"docker": "case \"$1 $3 $4\" in\n'inspect {{.State.Running}} mx') echo false; exit;;\n'inspect {{.Image}} mx') echo sha256:1; exit;;\nesac\n" +
				"[ \"$1 $2 $3 $4 $5 $6 $7\" = 'run --rm --network none --volumes-from mx:ro sha256:1' ] || exit 1\nshift 7\ncase \"$*\" in\n'postqueue -j') cat <<'END'\n" + twoQueued +
				"END\n;;\n'postcat -bh -q 0123AB') printf 'Subject: x\n\nbody\n';;\nesac",
		}, Facts{MTA: MTA{Name: "Postfix 3.10", Container: "mx"}, Engine: "docker", Dovecot: Dovecot{Container: "imap"}}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			q := FindQueue(newHost(t, test.programs), &test.facts)
			got, err := q.List(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			want := migrate.Queue{Running: test.running, Messages: []migrate.Queued{
				{ID: "4Xk1Jz2Lz1z9vc", Place: "deferred", Arrived: 1700000000, Bytes: 512, Recipients: []string{"bob@example.org", "x@elsewhere.example"}},
				{ID: "0123AB", Place: "hold", Arrived: 1700000001, Bytes: 9, Sender: "a@b.example"},
			}}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("the queue (- there, + read):\n%s", diff)
			}
			content, err := q.Content(t.Context(), want.Messages[1])
			if err != nil {
				t.Fatal(err)
			}
			defer content.Close()
			if text, err := io.ReadAll(content); err != nil || string(text) != "Subject: x\n\nbody\n" {
				t.Errorf("the message is %q, %v", text, err)
			}
		})
	}
}

// TestMailQueueUnread: what cannot be read is no empty queue.
func TestMailQueueUnread(t *testing.T) {
	facts := &Facts{MTA: MTA{Name: "Postfix 3.7.11"}}
	for about, postqueue := range map[string]string{
		"the mail system is down": "echo 'postqueue: fatal: Queue report unavailable - mail system is down' >&2; exit 69",
		`postqueue says`:          `echo '{"queue_id": "-rf"}'`,
		"says \"oh\"":             "echo oh",
	} {
		_, err := FindQueue(newHost(t, map[string]string{"postfix": "exit 1", "postqueue": postqueue}), facts).List(t.Context())
		if err == nil || !strings.Contains(err.Error(), strings.TrimPrefix(about, "the ")) || !strings.Contains(err.Error(), "old.example.org") {
			t.Errorf("%s: %v", about, err)
		}
	}
	if FindQueue(nil, &Facts{MTA: MTA{Name: "Exim"}}) != nil {
		t.Error("Exim has a queue of Postfix")
	}
}

func FuzzQueued(f *testing.F) {
	f.Add([]byte(`{"queue_name": "deferred", "queue_id": "3F2A1B", "arrival_time": 1, "message_size": 2, "sender": "MAILER-DAEMON", "recipients": [{"address": "a@b", "delay_reason": "x"}]}`))
	f.Add([]byte(`{"queue_id": "../../x", "message_size": -1}`))
	f.Add([]byte(`{"queue_id": "-oQ/tmp/x; id"}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		m, err := parseQueued(line)
		if err != nil {
			return
		}
		// The ID becomes an argument of a program there.
		if strings.Trim(m.ID, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") != "" || m.ID == "" || len(m.ID) > 30 || m.Bytes < 0 {
			t.Errorf("%+v", m)
		}
		shown(t, m.Place)
	})
}
