package main

import (
	"io"
	"slices"
	"strings"
	"testing"

	"mailstack/config"
	"mailstack/images"
)

// TestSendingSettings: each of the limits of the configuration comes to the line
// that Postfix's container reads it from, and so do their defaults.
func TestSendingSettings(t *testing.T) {
	others := config.Default()
	others.Limits.MessagesPerHour, others.Limits.MessagesPerDay = 1, 2
	others.Limits.RecipientsPerHour, others.Limits.RecipientsPerDay = 3, 4
	others.Limits.SenderMessagesPerHour = 5
	others.Limits.UnlimitedSenders = []string{"newsletter@example.org"}
	for _, c := range []struct {
		cfg  config.Config
		want string
	}{
		{config.Default(), "limit messages 3600 200\nlimit messages 86400 1000\nlimit recipients 3600 500\nlimit recipients 86400 1000\nsender-limit messages 3600 0\n"},
		{others, "limit messages 3600 1\nlimit messages 86400 2\nlimit recipients 3600 3\nlimit recipients 86400 4\nsender-limit messages 3600 5\n"},
	} {
		a := &app{}
		a.Stderr = io.Discard
		set, err := a.settings(&c.cfg)
		if err != nil {
			t.Fatal(err)
		}
		files, err := images.Render("postfix", images.Values{
			Hostname: set.Hostname, IP: set.IP, Sending: set.Sending,
			Secret: images.Secrets{"postfix": "x", "srs": "x", "srs-previous": "x"},
		})
		if err != nil {
			t.Fatal(err)
		}
		want := c.want + "unlimited mailstack-probe@" + set.Hostname + "\n"
		for _, account := range c.cfg.Limits.UnlimitedSenders {
			want += "unlimited " + account + "\n"
		}
		i := slices.IndexFunc(files, func(f images.File) bool { return f.Path == "config/limits" })
		if i < 0 {
			t.Fatal("there is no file with the limits")
		}
		if got := string(files[i].Data); strings.TrimSpace(got) != strings.TrimSpace(want) {
			t.Errorf("the limits are\n%s\nwant\n%s", got, want)
		}
	}
}
