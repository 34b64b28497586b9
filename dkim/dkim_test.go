package dkim

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

func selectors(d Domain) string {
	var all []string
	for _, k := range d.Keys {
		all = append(all, k.String())
	}
	return strings.Join(all, ", ")
}

func newDomain(t *testing.T) Domain {
	t.Helper()
	d, err := New("example.org", noon)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// A rotation: at each moment some key signs, and every key that has signed stays
// for as long as mail may be on its way.
func TestRotation(t *testing.T) {
	d := newDomain(t)
	at := func(what, want string) {
		t.Helper()
		if got := selectors(d); got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	at("new", "rsa-20261130 (active), ed-20261130 (active)")
	if err := d.Switch(noon); err == nil {
		t.Error("switched to keys that are not there")
	}
	if err := d.Begin(noon); err != nil {
		t.Fatal(err)
	}
	if err := d.Begin(noon); err == nil {
		t.Error("a second rotation has begun")
	}
	begun := "rsa-20261130-2 (next), ed-20261130-2 (next), rsa-20261130 (active), ed-20261130 (active)"
	at("begun on the same day", begun)
	if gone := d.Retire(noon.Add(10 * Overlap)); gone != nil {
		t.Errorf("retired %v, which still sign or will", gone)
	}
	at("retired nothing", begun)
	if err := d.Switch(noon.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	switched := "rsa-20261130-2 (active), ed-20261130-2 (active), rsa-20261130 (retiring), ed-20261130 (retiring)"
	at("switched", switched)
	if gone := d.Retire(noon.Add(Overlap)); gone != nil {
		t.Errorf("retired %v an hour early", gone)
	}
	at("not yet retired", switched)
	gone := d.Retire(noon.Add(Overlap + time.Hour))
	if want := []string{"rsa-20261130", "ed-20261130"}; !reflect.DeepEqual(gone, want) {
		t.Errorf("retired %v, want %v", gone, want)
	}
	at("retired", "rsa-20261130-2 (active), ed-20261130-2 (active), rsa-20261130 (retired), ed-20261130 (retired)")
	for _, k := range d.Keys {
		if k.PublicKey() == "" || (len(k.ForRspamd()) == 0) != (k.State == Retired) || (k.private == "") != (k.State == Retired) {
			t.Errorf("%s: the private half is of %d bytes, the public one %q", k, len(k.private), k.PublicKey())
		}
	}
	for _, k := range slices.Clone(d.Keys) {
		d.Forget(k.Selector)
	}
	at("forgotten", "rsa-20261130-2 (active), ed-20261130-2 (active)")
}

// The records hold the keys as RFC 6376 (section 3.6.1) and RFC 8463 (section 4.2)
// have them, and the private halves fit.
func TestKeys(t *testing.T) {
	d := newDomain(t)
	for _, k := range d.Keys {
		public, err := base64.StdEncoding.DecodeString(k.PublicKey())
		if err != nil {
			t.Fatal(err)
		}
		private, err := parsePrivate(k.Type, k.private)
		if err != nil {
			t.Fatal(err)
		}
		switch k.Type {
		case "rsa":
			key, err := x509.ParsePKIXPublicKey(public)
			if err != nil || key.(*rsa.PublicKey).N.BitLen() != 2048 || !key.(*rsa.PublicKey).Equal(private.Public()) {
				t.Errorf("%s: %v %v", k, key, err)
			}
		case "ed25519":
			if !ed25519.PublicKey(public).Equal(private.Public()) {
				t.Errorf("%s: %x", k, public)
			}
			seed, err := base64.StdEncoding.DecodeString(string(k.ForRspamd()))
			if err != nil || !ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey).Equal(private.Public()) {
				t.Errorf("%s: Rspamd gets another key: %v", k, err)
			}
		default:
			t.Errorf("%s is of the type %q", k, k.Type)
		}
	}
}

func TestMarshal(t *testing.T) {
	d := newDomain(t)
	for range 2 { // all four states
		if err := errors.Join(d.Begin(noon), d.Switch(noon)); err != nil {
			t.Fatal(err)
		}
		d.Retire(noon.Add(Overlap))
	}
	if err := errors.Join(d.Begin(noon), d.Switch(noon), d.Begin(noon)); err != nil {
		t.Fatal(err)
	}
	data := marshal(t, d)
	again, err := Unmarshal("example.org", data)
	if err != nil {
		t.Fatal(err)
	}
	if string(marshal(t, again)) != string(data) || !reflect.DeepEqual(again, d) {
		t.Errorf("%v is not %v", again, d)
	}
	text := string(data)
	for name, bad := range map[string]string{
		"empty":          "",
		"another domain": strings.Replace(text, "example.org", "example.net", 1),
		"no keys":        `{"domain": "example.org"}`,
		"wrong type":     strings.Replace(text, `"rsa"`, `"ed25519"`, 1),
		"unknown state":  strings.Replace(text, `"active"`, `"asleep"`, 1),
		"path":           strings.Replace(text, "ed-20261130", "../ed", 1),
		"no PEM":         strings.Replace(text, "BEGIN PRIVATE KEY", "BEGIN", 1),
		"cut":            text[:len(text)/2],
	} {
		if _, err := Unmarshal("example.org", []byte(bad)); err == nil {
			t.Errorf("%s: read", name)
		} else if strings.Contains(err.Error(), "MII") {
			t.Errorf("%s: quotes a key: %v", name, err)
		}
	}
}

func marshal(t *testing.T, d Domain) []byte {
	t.Helper()
	data, err := d.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// What cannot be written is said, and is no reason to stop a command half-way.
func TestMarshalFails(t *testing.T) {
	d := newDomain(t)
	d.Keys[0].Made = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) // RFC 3339 has four digits
	if data, err := d.Marshal(); err == nil || !strings.Contains(err.Error(), "write keys of example.org") || strings.Contains(err.Error(), "PRIVATE") {
		t.Errorf("%.100s, %v", data, err)
	}
	small, err := rsa.GenerateKey(rand.Reader, rsaBits)
	if err != nil {
		t.Fatal(err)
	}
	k := Key{Selector: "odd"}
	if err := k.hold(odd{small}); err == nil || !strings.Contains(err.Error(), "private half of odd") {
		t.Errorf("a key of no known kind: %v", err)
	}
}

// odd is a key that no standard has a form for.
type odd struct{ crypto.Signer }

func TestKeysDoNotPrint(t *testing.T) {
	d := newDomain(t)
	secret := strings.Split(d.Keys[0].private, "\n")[3]
	private, err := parsePrivate("rsa", d.Keys[0].private)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey := private.(*rsa.PrivateKey)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		for _, value := range []any{d, &d, d.Keys, d.Keys[0]} {
			got := fmt.Sprintf(verb, value)
			if strings.Contains(got, secret) || strings.Contains(got, rsaKey.D.String()) || strings.Contains(got, fmt.Sprintf("%x", rsaKey.D)) {
				t.Errorf("%s of %T tells the key: %.80s", verb, value, got)
			}
		}
	}
}
