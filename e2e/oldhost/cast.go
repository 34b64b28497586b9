package oldhost

import (
	"path"
	"slices"
	"strings"
)

// Domains of every host.
const (
	mainDomain   = "example.org"
	secondDomain = "example.net"
	idnDomain    = "xn--mnchen-3ya.example" // münchen.example
)

// PostfixAdmin has further domains, none of which holds a mailbox.
const (
	aliasDomain  = "example.com"    // its addresses are those of mainDomain
	closedDomain = "closed.example" // inactive
	backupDomain = "backup.example" // mail is only relayed to another server
)

func domains() []string { return []string{mainDomain, secondDomain, idnDomain} }

// Roles of accounts in the spool; see fill.
const (
	ordinary = ""
	rich     = "rich"    // all that is odd and yet lawful
	exact    = "exact"   // Spool.Exact
	many     = "many"    // Spool.Many
	hostile  = "hostile" // Spool.Hostile
	unused   = "unused"  // never logged in, got no mail: has no directory
)

// person is an account before a kind of host has made a place for it.
type person struct {
	address, password, hash string // made by `doveadm pw` of Dovecot 2.3.19
	quota                   int64
	sieve, disabled         bool
	role                    string
}

const mib = 1 << 20

// people are the same 22 on every host. Dovecot 2.4 refuses the hashes of dave,
// erin, niaj, olivia and rupert unless auth_allow_weak_schemes is set.
var people = []person{
	{
		address: "alice@example.org", password: "alice-Hx7", role: rich, sieve: true, quota: 2048 * mib,
		hash: "{SHA512-CRYPT}$6$AdWJ7O4b3CvIVdv4$bHJ7wfqMGwg7.G97/38.qXaHwvc4Sf1GBh2iSoAYIsm3B2ku5dbMQ2rIDjI2UXNde/4/X/3jk1b51xEH8KdfH/",
	},
	{
		address: "bob@example.org", password: "bob-Qk2", sieve: true, quota: 512 * mib,
		hash: "{BLF-CRYPT}$2y$05$nINvhoECwTT4uNo2RdDO.uS1qhT8lsnzN2mXKcnbjEDw82D0FyTnK",
	},
	{
		address: "carol.o-hara@example.org", password: "carol-Vm9", sieve: true,
		hash: "{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$tdafztZ3fHLhNVpozkqVsw$khhPfgrQXBjP2SQklWUixdgS4shl1rERS3iN5V7LVfM",
	},
	{
		address: "dave@example.org", password: "dave-Tz4", // PostfixAdmin's md5crypt
		hash: "$1$4jJ73F3V$NwAhk2xYKBPt2pWTb9mY5/",
	},
	{
		address: "erin@example.org", password: "erin-Lc8",
		hash: "{PLAIN-MD5}2eda941637b6d51cdd4e8cb478761d9c",
	},
	{
		address: "frank@example.org", password: "frank-Wd1", disabled: true,
		hash: "{SHA512-CRYPT}$6$ifUKCfgEt7hUGz65$Yd1pwBUyXg3Lk3zBV2Qgq1lVl3xJMStVZEfAu908aYDbQBwUW.5X4Tjp83LvZo5ol7ifTl3kjiWKdG.HhNb1I1",
	},
	{
		address: "exact@example.org", password: "exact-Rn6", role: exact,
		hash: "{SHA256-CRYPT}$5$JDtFgABK382WLABl$zZc1w.8Yr1jPACqNXH2IxLD79RgZPSzycmtRY6NF314",
	},
	{
		address: "new@example.org", password: "new-Ev5", role: unused, quota: 100 * mib,
		hash: "{SHA512-CRYPT}$6$AwxK6dWPYPwVn5O3$3fX5hmk9oQ.cbaRminSriYbAliwNdsybi4ZkgXFIgOF7YHzWCMYwVhasAlV05yBKCHYnvA407OScae3C6cgGj/",
	},
	{
		address: "first.last.third@example.net", password: "first-Yb3",
		hash: "{SSHA512}PWhMmLzgH6sqHUbtcbDFzo0red5NMKYW0vlf2cgh/r/srsX6I9FyLdxCUD75DUGijbvbnElbFzN1iTjVzBp9B7yu4WM=",
	},
	{
		address: "many@example.net", password: "many-Gp5", role: many, // PostfixAdmin's php_crypt
		hash: "$2y$05$AEtEwWi3BQXoZcqkSggIBeTQej/Oins9tA0Us5.SiSDgXgsp.WP.2",
	},
	{
		address: "mallory@example.net", password: "mallory-Js0", role: hostile, sieve: true,
		hash: "{SHA512-CRYPT}$6$vDhT81MOblFb/fcs$DugddVgDCT5oC/rdpkR/jyRPrAp2lM4q829VdSpZUXsVSsonLce35x2IuVMS8yb8s8QvicZDkrt5VWKDgXQNg/",
	},
	{
		address: "grace@example.net", password: "grace-Fo7",
		hash: "{PBKDF2}$1$kEnWm6y4elEeLs.U$5000$2175b17b3853e1a4d2f1360bca88ef23d67ecc44",
	},
	{
		address: "heidi@example.net", password: "heidi-Ae2",
		hash: "{SSHA}JAIM4gKVnyrwnvpsMDehWnNZ+HbhqXLo",
	},
	{
		address: "ivan@example.net", password: "ivan-Ux9",
		hash: "{CRYPT}$6$s1vhY.zjV1HLKoEF$mVie2m8rTHJI//EW.uA.EkG5lu4zwzhwX014r7v0YITtdg3JS1ccTTwlXpxCcSaOdze3kjVlcDo61HexfP2jo.",
	},
	{
		address: "laura@example.net", password: "laura-Nh8",
		hash: "{SSHA256}CaVKESCYVqSBpse1TejROX8XqIRp3qFDUftCV95UGHmhuftT",
	},
	{
		address: "mike_99@example.net", password: `mike "99" \pass`,
		hash: `{PLAIN}mike "99" \pass`,
	},
	{
		address: "niaj@example.net", password: "niaj-Mw1",
		hash: "{MD5-CRYPT}$1$IlOSqEpY$hQIWVt3ujEOeQZF2tXjdk1",
	},
	{
		address: "olivia@example.net", password: "olivia-Dk6",
		hash: "{SMD5}+KKPe3qKT/jCGQPPISxw8cVvR8E=",
	},
	{
		address: "peggy@example.net", password: "peggy-Bz3",
		hash: "{SHA}/FBk7MJp3oMHf70FlFCk9n0y45o=",
	},
	{
		address: "rupert@example.net", password: "rupe-St7",
		hash: "{DES-CRYPT}L1FaJF5qK6qGQ",
	},
	{
		address: "sybil@example.net", password: "sybil-Ye7", // as Debian's passwd(1) makes them
		hash: "{CRYPT}$y$j9T$TqR3kYv0nBw1cXo5mJz8P.$MVXOiFwPhBAN58.hMD7/I.8qY45bnZTej9w036a9rv4",
	},
	{
		address: "ken@" + idnDomain, password: "ken-Ci4", quota: 1024 * mib,
		hash: "{SHA512-CRYPT}$6$PNpZAbdmOnZfqwUP$DiC/AhMClKJeEoEySuc30oubJv0mVIlDnxyXHkkvYBG0lgQkwy8ev6JkWmasnEPwVv/F63Q8PsLouJ0FJir8u/",
	},
}

// accounts gives everybody a place on a kind of host.
func accounts(opts Options) []Account {
	all := make([]Account, 0, len(people))
	for _, p := range people {
		local, domain, _ := strings.Cut(p.address, "@")
		a := Account{
			Address: p.address, Password: p.password, Hash: p.hash, Scheme: scheme(p.hash),
			QuotaBytes: p.quota, Hostile: p.role == hostile && opts.Spool.Hostile, role: p.role,
		}
		switch opts.Kind {
		case PostfixAdmin:
			a.Home = path.Join("/var/vmail", maildirColumn(opts.Layout, local, domain))
			a.Disabled = p.disabled
			a.Maildir = path.Join(a.Home, opts.Layout.Subdir)
		case ISPmail: // has no way to disable somebody
			a.Home = path.Join("/var/vmail", domain, local)
			a.Maildir = path.Join(a.Home, opts.Layout.Subdir)
		case DockerMailserver: // nor has this
			mail := path.Join("/var/mail", domain, local)
			a.Home = path.Join(mail, "home")
			a.Maildir = path.Join(mail, opts.Layout.Subdir)
		}
		if opts.Kind != PostfixAdmin && !strings.HasPrefix(a.Hash, "{") {
			a.Hash = "{CRYPT}" + a.Hash // the others have no default scheme that fits
		}
		if p.sieve {
			a.Sieve = path.Join(a.Home, ".dovecot.sieve")
		}
		all = append(all, a)
	}
	return all
}

// maildirColumn is mailbox.maildir of PostfixAdmin: domain_path and no
// domain_in_mailbox, or what a maildir_name_hook makes of it.
func maildirColumn(layout Layout, local, domain string) string {
	if layout.Hashed {
		return domain + "/" + local[:1] + "/" + local[:2] + "/" + local + "/"
	}
	return domain + "/" + local + "/"
}

// scheme is Dovecot's name for a hash's scheme.
func scheme(hash string) string {
	if name, _, ok := strings.Cut(strings.TrimPrefix(hash, "{"), "}"); ok {
		return name
	}
	if strings.HasPrefix(hash, "$1$") {
		return "MD5-CRYPT"
	}
	return "BLF-CRYPT"
}

// aliases are what a kind can express of the same list.
func aliases(kind Kind) []Alias {
	all := []Alias{
		{Address: "info@example.org", Targets: []string{"alice@example.org", "bob@example.org"}},
		{Address: "team@example.org", Targets: []string{"info@example.org", "carol.o-hara@example.org"}},
		{Address: "sales@example.org", Targets: []string{"sales@elsewhere.example"}},
		{Address: "mixed@example.net", Targets: []string{"grace@example.net", "grace@elsewhere.example"}},
		{Address: "abuse@example.org", Targets: []string{"alice@example.org"}},
		{Address: "@example.net", Targets: []string{"laura@example.net"}},
		// Whose target is gone, and which go round.
		{Address: "former@example.org", Targets: []string{"gone@example.org"}},
		{Address: "ping@example.org", Targets: []string{"pong@example.org"}},
		{Address: "pong@example.org", Targets: []string{"ping@example.org"}},
		{Address: "fest@" + idnDomain, Targets: []string{"ken@" + idnDomain}},
	}
	if kind == PostfixAdmin {
		all = append(
			all,
			Alias{Address: "closed@example.org", Targets: []string{"bob@example.org"}, Disabled: true},
			// Forwarded with and without a copy, and on vacation.
			Alias{Address: "bob@example.org", Targets: []string{"bob@example.org", "alice@example.org"}},
			Alias{Address: "heidi@example.net", Targets: []string{"heidi@elsewhere.example"}},
			Alias{Address: "niaj@example.net", Targets: []string{"niaj@example.net", "niaj#example.net@autoreply.example.org"}},
		)
	}
	return all
}

// Account is the account of an address, which the host must have.
func (h *Host) Account(address string) Account {
	i := slices.IndexFunc(h.Accounts, func(a Account) bool { return a.Address == address })
	if i < 0 {
		panic("old host has no account " + address)
	}
	return h.Accounts[i]
}

// Folder is one of the folders that the spool filled; without messages if it
// did not.
func (a Account) Folder(name string) Folder {
	for _, f := range a.Folders {
		if f.Name == name {
			return f
		}
	}
	return Folder{Name: name}
}
