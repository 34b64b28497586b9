package oldhost

import "testing"

// TestSized: a message has the octets asked for, and lines that end.
func TestSized(t *testing.T) {
	for _, octets := range []int64{200, 201, 202, 203, 277, 278, 279, 280, 281, 30745, 1 << 20} {
		message := Sized(7, octets)
		if got := virtualSize(message); got != octets {
			t.Errorf("%d octets asked for, %d made", octets, got)
		}
		if message[len(message)-1] != '\n' {
			t.Errorf("the message of %d octets does not end with a line", octets)
		}
	}
}

func TestVirtualSize(t *testing.T) {
	for message, want := range map[string]int64{
		"": 0, "a": 1, "a\n": 3, "a\r\n": 3, "a\nb\r\n\n": 8, "\r": 1,
	} {
		if got := virtualSize([]byte(message)); got != want {
			t.Errorf("%q has %d octets, want %d", message, got, want)
		}
	}
}

// The examples of RFC 3501, section 5.1.3, and RFC 9051, appendix A.
func TestModifiedUTF7(t *testing.T) {
	for name, want := range map[string]string{
		"INBOX": "INBOX", "R&D": "R&-D", "台北": "&U,BTFw-", "~peter/mail/台北/日本語": "~peter/mail/&U,BTFw-/&ZeVnLIqe-",
		"Entwürfe": "Entw&APw-rfe", "🎂": "&2Dzfgg-",
	} {
		if got := modifiedUTF7(name); got != want {
			t.Errorf("%q becomes %q, want %q", name, got, want)
		}
	}
}
