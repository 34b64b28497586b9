package probe

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestContents: what the server says of the user's mailbox is what is there.
func TestContents(t *testing.T) {
	w := newWorld(t)
	must(t, w.imap.Create("Entwürfe & more", nil))
	w.arrive([]byte("Subject: x\r\n\r\nx\r\n"))
	target := w.start("imaps", "pop3")
	states, err := target.Folders(t.Context(), []string{"INBOX", "Entwürfe & more", "None"})
	if err != nil {
		t.Fatal(err)
	}
	if _, found := states["None"]; found || len(states) != 2 {
		t.Errorf("folders %v", states)
	}
	inbox := states["INBOX"]
	want := FolderState{Messages: 1, Unseen: 1, UIDNext: 2, UIDValidity: inbox.UIDValidity, Octets: inbox.Octets}
	if diff := cmp.Diff(want, inbox); diff != "" || inbox.UIDValidity == 0 {
		t.Errorf("INBOX (-want +got)\n%s", diff)
	}
	messages, octets, err := target.Maildrop(t.Context())
	if messages != 1 || octets != 1000 || err != nil {
		t.Errorf("maildrop: %d messages, %d octets, %v", messages, octets, err)
	}
}

func TestContentsRefused(t *testing.T) {
	w := newWorld(t)
	target := w.start("imap")
	if _, _, err := target.Maildrop(t.Context()); !errors.Is(err, ErrNoListener) {
		t.Errorf("no POP3: %v", err)
	}
	target.Password = "wrong"
	var failure *Failure
	if _, err := target.Folders(t.Context(), []string{"INBOX"}); !errors.As(err, &failure) || failure.Kind != KindCredentials {
		t.Errorf("wrong password: %v", err)
	}
}
