// Package dkim makes the keys that a domain signs its mail with, and says what
// the DNS publishes of them and when the next ones take their place (RFC 6376,
// RFC 8463).
//
// A domain has two keys at a time, RSA of 2048 bits, which every receiver can
// verify, and Ed25519. A rotation takes them through four states: a next key waits
// until everybody can see it in the DNS, an active one signs, a retiring one signs
// no more but stays published while messages signed with it may still be on their
// way, and of a retired one there is only the record left to be removed.
//
// The package holds plain values. It reads no DNS, signs nothing and keeps
// nothing on disk.
package dkim

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Overlap is how long a key stays published after it has signed for the last
// time: mail waits in queues for up to 5 days (RFC 5321, section 4.5.4.1). The
// rest is for a signer that takes the next key later than it should.
const Overlap = 7 * 24 * time.Hour

// rsaBits is what receivers must be able to verify (RFC 8301), and whose record
// still is a DNS answer over UDP.
const rsaBits = 2048

// State says what a key is used for.
type State string

// The states, in the order in which a key has them.
const (
	Next     State = "next"
	Active   State = "active"
	Retiring State = "retiring"
	Retired  State = "retired"
)

// Key is one key of a domain. Its private half prints as nothing.
type Key struct {
	Selector string    // the label before ._domainkey: "rsa-20261130"
	Type     string    // "rsa" or "ed25519", as the tag k= has it
	State    State     //
	Made     time.Time //
	Changed  time.Time // when it came into its state
	public   string    // the tag p=
	private  string    // PKCS 8 in PEM form; "" of a retired key
	signer   string    // the private half as Rspamd reads it
}

// Domain is a domain with its keys, the newest first.
type Domain struct {
	Name string
	Keys []Key
}

// New is a domain that signs from now on.
func New(name string, now time.Time) (Domain, error) {
	d := Domain{Name: name}
	if err := d.Begin(now); err != nil {
		return d, err
	}
	return d, d.Switch(now)
}

// Has says whether there is a key in the state.
func (d Domain) Has(s State) bool {
	return slices.ContainsFunc(d.Keys, func(k Key) bool { return k.State == s })
}

// Begin makes the next keys. They must be seen in the DNS before Switch.
func (d *Domain) Begin(now time.Time) error {
	if d.Has(Next) {
		return fmt.Errorf("make keys of %s: the next ones are there already", d.Name)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, rsaBits)
	if err != nil {
		return fmt.Errorf("make keys of %s: %w", d.Name, err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return fmt.Errorf("make keys of %s: %w", d.Name, err)
	}
	now = now.UTC().Truncate(time.Second)
	suffix := d.unusedSuffix(now)
	made := []Key{
		{Selector: "rsa-" + suffix, Type: "rsa", State: Next, Made: now, Changed: now},
		{Selector: "ed-" + suffix, Type: "ed25519", State: Next, Made: now, Changed: now},
	}
	for i, private := range []crypto.Signer{rsaKey, edKey} {
		if err := made[i].hold(private); err != nil {
			return fmt.Errorf("make keys of %s: %w", d.Name, err)
		}
	}
	d.Keys = append(made, d.Keys...)
	return nil
}

// hold gives the key its halves, in all their forms.
func (k *Key) hold(private crypto.Signer) error {
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return fmt.Errorf("write the private half of %s: %w", k.Selector, err)
	}
	k.private = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	if key, ok := private.(ed25519.PrivateKey); ok {
		k.public = base64.StdEncoding.EncodeToString(key.Public().(ed25519.PublicKey)) // RFC 8463, section 4.2
		k.signer = base64.StdEncoding.EncodeToString(key.Seed())
		return nil
	}
	if der, err = x509.MarshalPKIXPublicKey(private.Public()); err != nil {
		return fmt.Errorf("write the public half of %s: %w", k.Selector, err)
	}
	k.public, k.signer = base64.StdEncoding.EncodeToString(der), k.private
	return nil
}

// unusedSuffix is the day, with a number behind it for further keys of the same
// one: a selector never means another key than before.
func (d Domain) unusedSuffix(now time.Time) string {
	day := now.Format("20060102")
	for n := 1; ; n++ {
		suffix := day
		if n > 1 {
			suffix = fmt.Sprintf("%s-%d", day, n)
		}
		if !slices.ContainsFunc(d.Keys, func(k Key) bool { return strings.HasSuffix(k.Selector, "-"+suffix) }) {
			return suffix
		}
	}
}

// Switch lets the next keys sign, and those that did retire.
func (d *Domain) Switch(now time.Time) error {
	if !d.Has(Next) {
		return fmt.Errorf("switch keys of %s: there are no next ones", d.Name)
	}
	now = now.UTC().Truncate(time.Second)
	after := map[State]State{Next: Active, Active: Retiring}
	for i, k := range d.Keys {
		if to, ok := after[k.State]; ok {
			d.Keys[i].State, d.Keys[i].Changed = to, now
		}
	}
	return nil
}

// Retire ends the time of the keys that have been retiring for long enough, whose
// private halves are destroyed, and returns their selectors: nobody needs their
// records any more.
func (d *Domain) Retire(now time.Time) (retired []string) {
	for i, k := range d.Keys {
		if k.State == Retiring && !now.Before(k.Until()) {
			d.Keys[i].State, d.Keys[i].Changed = Retired, now.UTC().Truncate(time.Second)
			d.Keys[i].private, d.Keys[i].signer = "", ""
			retired = append(retired, k.Selector)
		}
	}
	return retired
}

// Until is when a retiring key has been published for long enough.
func (k Key) Until() time.Time { return k.Changed.Add(Overlap) }

// Forget removes a retired key, whose record has been removed. No later key gets its
// selector: that is of a day which is past.
func (d *Domain) Forget(selector string) {
	d.Keys = slices.DeleteFunc(d.Keys, func(k Key) bool { return k.State == Retired && k.Selector == selector })
}

// PublicKey is the tag p= of the key's record, in base64.
func (k Key) PublicKey() string { return k.public }

// ForRspamd is the private key in a form that Rspamd 3.12 reads
// (rspamd_dkim_sign_key_load in its dkim.c): PEM, but of Ed25519 the seed in
// base64, as it would take that PEM for RSA.
func (k Key) ForRspamd() []byte { return []byte(k.signer) }

// String tells the selector and never the key.
func (k Key) String() string { return fmt.Sprintf("%s (%s)", k.Selector, k.State) }

// Format implements fmt.Formatter: no verb tells more.
func (k Key) Format(s fmt.State, _ rune) { fmt.Fprint(s, k.String()) }

// keyOnDisk is a key as Marshal writes it.
type keyOnDisk struct {
	Selector string    `json:"selector"`
	Type     string    `json:"type"`
	State    State     `json:"state"`
	Made     time.Time `json:"made"`
	Changed  time.Time `json:"changed"`
	Private  string    `json:"private,omitempty"`
	Public   string    `json:"public,omitempty"` // of a retired key, which has no other half
}

type domainOnDisk struct {
	Domain string      `json:"domain"`
	Keys   []keyOnDisk `json:"keys"`
}

// Marshal is the domain with its private keys, to be kept where nobody else can
// read it: state and keys change together or not at all.
func (d Domain) Marshal() ([]byte, error) {
	out := domainOnDisk{Domain: d.Name}
	for _, k := range d.Keys {
		key := keyOnDisk{k.Selector, k.Type, k.State, k.Made, k.Changed, k.private, ""}
		if k.State == Retired {
			key.Public = k.public
		}
		out.Keys = append(out.Keys, key)
	}
	data, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write keys of %s: %w", d.Name, err) // of times: it quotes no key
	}
	return append(data, '\n'), nil
}

// Unmarshal reads what Marshal wrote for the domain of that name. Its error
// quotes nothing of the data.
func Unmarshal(name string, data []byte) (Domain, error) {
	var in domainOnDisk
	if json.Unmarshal(data, &in) != nil || in.Domain != name || len(in.Keys) == 0 {
		return Domain{}, fmt.Errorf("read keys of %s: they are not what mailstack wrote", name)
	}
	d := Domain{Name: in.Domain}
	for _, k := range in.Keys {
		if !slices.Contains([]State{Next, Active, Retiring, Retired}, k.State) || !isSelector(k.Selector) {
			return Domain{}, fmt.Errorf("read keys of %s: a selector or state is not what mailstack wrote", name)
		}
		key := Key{Selector: k.Selector, Type: k.Type, State: k.State, Made: k.Made, Changed: k.Changed, public: k.Public}
		if k.State != Retired {
			private, err := parsePrivate(k.Type, k.Private)
			if err == nil {
				err = key.hold(private)
			}
			if err != nil {
				return Domain{}, fmt.Errorf("read key %s of %s: %w", k.Selector, name, err)
			}
		}
		d.Keys = append(d.Keys, key)
	}
	return d, nil
}

// isSelector keeps what would mean something in a path or a configuration out.
func isSelector(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

func parsePrivate(kind, text string) (crypto.Signer, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New("it is not in PEM form")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("it is not a private key") // the error may quote it
	}
	switch key := key.(type) {
	case *rsa.PrivateKey:
		if kind == "rsa" {
			return key, nil
		}
	case ed25519.PrivateKey:
		if kind == "ed25519" {
			return key, nil
		}
	}
	return nil, fmt.Errorf("it is not of the type %q", kind)
}
