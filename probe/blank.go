package probe

import (
	"encoding/base64"
	"regexp"
	"strings"
)

// blank takes out of a text what may not be shown.
type blank struct {
	forms []string // every form in which a secret goes over the wire
	whole *strings.Replacer
}

// leastLeak is how much of a secret may stand at the end of a text that was cut,
// in bytes: less than that comes about by chance.
const leastLeak = 4

// blankerOf blanks the secrets of a target and of the mailbox of another server
// that its message is followed to.
func blankerOf(t *Target) blank {
	b := blank{forms: secretForms(t)}
	if t.Elsewhere != nil && t.Elsewhere.Mailbox != nil {
		b.forms = append(b.forms, secretForms(t.Elsewhere.Mailbox)...)
	}
	var pairs []string
	for _, form := range b.forms {
		pairs = append(pairs, form, redacted)
	}
	b.whole = strings.NewReplacer(pairs...)
	return b
}

// secretForms are the forms of the password, and of what keeps others from
// writing to the account. The last of a password's is what printable makes of it.
func secretForms(t *Target) (forms []string) {
	password := string(t.Password)
	if password == "" {
		return nil
	}
	encode := base64.StdEncoding.EncodeToString
	forms = []string{
		encode([]byte("\x00" + t.User + "\x00" + password)),
		encode([]byte(password)),                                    // AUTH LOGIN
		strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(password), // an IMAP string
		password,
	}
	if shown := printable(password); shown != "" && len(password) <= maxDetail {
		forms = append(forms, shown)
	}
	_, secret, _ := strings.Cut(t.Recipient, "+")
	if secret, _, _ = strings.Cut(secret, "@"); secret != "" {
		forms = append(forms, secret)
	}
	return forms
}

// signed is the signature of a marker. Whoever has it can try passwords against
// it for as long as they like.
var signed = regexp.MustCompile(`(?i)(` + markerField + `:\s*1 [0-9a-f]+ [0-9]+ )[0-9a-f]+`)

// text is s without secrets. Where s was cut, that may have been within one.
func (b blank) text(s string) string {
	s = signed.ReplaceAllString(b.whole.Replace(s), "${1}"+redacted)
	i := strings.LastIndex(s, "…")
	if i < 0 {
		return s
	}
	for _, form := range b.forms {
		for n := len(form) - 1; n >= leastLeak; n-- {
			if strings.HasSuffix(s[:i], form[:n]) {
				return s[:i-n] + redacted + s[i:]
			}
		}
	}
	return s
}
