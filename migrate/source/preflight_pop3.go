package source

import (
	"slices"
	"strings"
)

// uidls are pop3_uidl_format of Dovecot 2.3 and 2.4 by default, which is also what
// it is here.
var uidls = []string{"", "%08Xu%08Xv", "%{uid|hex(8)}%{uidvalidity|hex(8)}"}

// pop3 says where POP3 programs would take all messages for new ones. What they
// were told is kept with pop3_save_uidl, in dovecot-uidlist, and comes along.
func (p *preflight) pop3() {
	own := &section{}
	for _, s := range p.f.Dovecot.settings.of("protocol") {
		if s.name == "pop3" {
			own = s
		}
	}
	setting := func(key string) string { return first(own.get(key), p.f.Dovecot.settings.get(key)) }
	format := setting("pop3_uidl_format")
	if slices.Contains(uidls, strings.ReplaceAll(format, " ", "")) {
		return
	}
	if setting("pop3_save_uidl") == "yes" {
		p.add("pop3", OK, "POP3 programs go on with the UIDLs that they were told there (pop3_save_uidl)", "")
		return
	}
	p.add("pop3", Warn, "POP3 programs that leave mail on the server download it again, as UIDLs are of another form there (pop3_uidl_format = "+clean(format)+")",
		"set pop3_save_uidl = yes there, and let them look for mail once more before the last copy: what they are told then comes along")
}
