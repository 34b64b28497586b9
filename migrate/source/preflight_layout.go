package source

import (
	"cmp"
	"fmt"
)

// by is who says where mail is.
func (p *preflight) by() string {
	switch {
	case p.stores.Given:
		return "as --layout says"
	case p.stores.Asked:
		return "as Dovecot says"
	}
	return "as its configuration and tables say, since Dovecot does not answer"
}

// given compares a layout that was given with what Dovecot says.
func (p *preflight) given() {
	var none, other, control []string
	for _, account := range p.list.Accounts {
		switch s := p.stores.ByAddress[account.Address]; {
		case s.Control != "":
			control = append(control, account.Address+": "+s.Control)
		case s.Elsewhere != "" && s.State == Found:
			other = append(other, account.Address+": "+s.Elsewhere)
		case s.Elsewhere != "":
			none = append(none, account.Address+": "+s.Elsewhere)
		}
	}
	if len(none) > 0 {
		p.add("layout", Fail, count(len(none), "account has", "accounts have")+" no mail where --layout says, and some where Dovecot says: "+firstOf(none),
			"correct --layout, or leave it out")
	}
	if len(control) > 0 {
		p.add("control", Fail, "UIDs and subscriptions of "+count(len(control), "account are", "accounts are")+" not where --layout says, but where Dovecot says: "+firstOf(control),
			"correct CONTROL= in --layout, or leave --layout out; without them, mail programs download all mail again")
	}
	if len(other) > 0 {
		p.add("elsewhere", Warn, count(len(other), "account has", "accounts have")+" mail also in another place than --layout says, where Dovecot says: "+firstOf(other),
			"look which it is; without --layout, what Dovecot says is copied")
	}
}

// firstOf is the first of several.
func firstOf(list []string) string { return clean(list[0]) + more(len(list)-1) }

// layout compares the folders that are there with what the configuration says:
// with the wrong one, folders would be left out. Some leftovers are found in many an
// old Maildir; that most folders are of the other layout is a mistake, unless
// Dovecot says so and --layout does as well.
func (p *preflight) layout() {
	var wrong []string
	var in, out int64
	layout := ""
	for _, account := range p.list.Accounts {
		s := p.stores.ByAddress[account.Address]
		if s.State != Found {
			continue
		}
		own, other := s.Dotted, s.Plain
		if account.Store.Layout == "fs" {
			own, other = other, own
		}
		in, out = in+own, out+other
		if other > 0 {
			wrong, layout = append(wrong, account.Address), account.Store.Layout
		}
	}
	switch {
	case len(wrong) == 0:
	case out > in && !(p.stores.Given && layout == cmp.Or(p.f.Dovecot.Mail.Layout, "maildir++")):
		right := map[bool]string{true: "maildir++", false: "fs"}[layout == "fs"]
		remedy := "--layout with LAYOUT=" + right
		if !p.stores.Given {
			remedy += "; if these are leftovers that mail programs do not show there either: --layout with LAYOUT=" + layout
		}
		p.add("layout", Fail, fmt.Sprintf("the folders there are not of LAYOUT=%s, %s: it would leave %s behind, of %s", layout, p.by(),
			count(int(out), "message", "messages"), enumerate(wrong)), remedy)
	default:
		p.add("layout", Warn, "there are messages in directories that are no folders in this layout: "+enumerate(wrong),
			"compare the folders by a mail program; if some are missing there too, these are leftovers; if not: --layout with LAYOUT=fs or LAYOUT=maildir++")
	}
}
