package source

import (
	"maps"
	"slices"
	"strings"

	"mailstack/accounts"
	"mailstack/migrate"
)

// systemNames are addresses that every domain has here (accounts' system
// aliases).
var systemNames = []string{"postmaster", "abuse", "root"}

// forwards takes the aliases out that have the address of an account: some
// schemas have one for each account, leading to itself, and to whom its mail is
// forwarded as well.
func (b *builder) forwards() {
	for _, address := range slices.Sorted(maps.Keys(b.aliases)) {
		if _, found := b.accounts[address]; !found {
			continue
		}
		alias := b.aliases[address]
		delete(b.aliases, address)
		others := slices.DeleteFunc(slices.Clone(alias.Targets), func(t string) bool { return t == address })
		if len(others) == 0 || alias.Disabled {
			continue
		}
		redirect := "redirect"
		if len(others) < len(alias.Targets) {
			redirect = `require "copy"; redirect :copy`
		}
		var script []string
		for _, other := range others {
			script = append(script, redirect+` "`+other+`";`)
			redirect = strings.TrimPrefix(redirect, `require "copy"; `)
		}
		b.left("forward of "+address+" to "+strings.Join(others, ", "),
			"an address is an account or an alias, never both: its owner forwards by Sieve (%s)", clean(strings.Join(script, " ")))
	}
}

// maxChain is how many aliases may follow each other: Postfix's
// virtual_alias_recursion_limit.
const maxChain = 1000

// drop takes out the targets that nobody has and those that lead in a circle,
// and then the aliases without a target: both would be refused when they are
// made.
func (b *builder) drop() {
	d := dropper{builder: b, state: map[string]state{}}
	for _, address := range slices.Sorted(maps.Keys(b.aliases)) {
		d.visit(address, 0)
	}
}

// dropper is a depth-first search through aliases: what an alias leads to is put
// right before the alias is.
type dropper struct {
	*builder
	state map[string]state
}

type state int

const (
	unseen state = iota
	visiting
	done
)

func (d *dropper) visit(address string, depth int) {
	alias := d.aliases[address]
	if alias == nil || d.state[address] != unseen {
		return
	}
	d.state[address] = visiting
	alias.Targets = slices.DeleteFunc(alias.Targets, func(target string) bool {
		why := d.refused(address, target, depth)
		if why != "" {
			d.left("alias "+address+" -> "+target, "%s", why)
		}
		return why != ""
	})
	d.state[address] = done
	if len(alias.Targets) == 0 {
		d.left("alias "+address, "it leads to nobody")
		delete(d.aliases, address)
	}
}

// refused says why an alias cannot have a target.
func (d *dropper) refused(address, target string, depth int) string {
	parsed, err := accounts.ParseAddress(target)
	if err != nil {
		return because(err)
	}
	if _, hosted := d.domains[parsed.Domain]; !hosted {
		return ""
	}
	next, found := d.next(parsed)
	if found && d.state[next] == unseen {
		if depth >= maxChain {
			return "too many aliases follow each other"
		}
		d.visit(next, depth+1)
		next, found = d.next(parsed) // it may be gone: then the catch-all's turn has come
		if found && d.state[next] == unseen {
			d.visit(next, depth+1)
			next, found = d.next(parsed)
		}
	}
	switch {
	case !found:
		return "nobody has this address"
	case d.state[next] == visiting && d.aliases[next] != nil && !d.aliases[address].Disabled:
		return "it leads back to where it began"
	}
	return ""
}

// next is who gets the mail for an address in one of the domains, as Postfix
// looks it up: the account or alias of its base, then the catch-all.
func (b *builder) next(address accounts.Address) (next string, found bool) {
	base := address.Base().String()
	if _, found := b.accounts[base]; found {
		return base, true
	}
	for _, candidate := range []string{base, "@" + address.Domain} {
		if alias := b.aliases[candidate]; alias != nil && !alias.Disabled {
			return candidate, true
		}
		if slices.Contains(systemNames, address.Base().Local) {
			return base, true
		}
	}
	return "", false
}

// ordered puts aliases after those that they lead to, so that each can be made
// when its turn comes; those that are switched off are last.
func ordered(aliases map[string]*migrate.Alias) (list []migrate.Alias) {
	done := map[string]bool{}
	var add func(address string)
	add = func(address string) {
		alias := aliases[address]
		if alias == nil || done[address] {
			return
		}
		done[address] = true
		for _, target := range alias.Targets {
			if parsed, err := accounts.ParseAddress(target); err == nil {
				add(parsed.Base().String())
				add("@" + parsed.Domain)
			}
		}
		list = append(list, *alias)
	}
	for _, address := range slices.Sorted(maps.Keys(aliases)) {
		if !aliases[address].Disabled {
			add(address)
		}
	}
	for _, address := range slices.Sorted(maps.Keys(aliases)) {
		if aliases[address].Disabled && !done[address] {
			list = append(list, *aliases[address])
		}
	}
	return list
}
