package stack

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mailstack/images"
)

const (
	secretValue = "QWERTYUIOPASDFGHJKLZXCVBNM"
	relayValue  = "relay-password-of-the-test"
)

// shows says in which form a text holds a secret.
func shows(text, secret string) string {
	forms := map[string]string{
		"as it is": secret, "as hexadecimal": hex.EncodeToString([]byte(secret)),
		"as decimal bytes": strings.Trim(fmt.Sprint([]byte(secret)), "[]"),
		"as Go's bytes":    strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", []byte(secret)), "[]byte{"), "}"),
	}
	// In base64 it depends on where it begins.
	for shift := range 3 {
		encoded := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + secret))
		forms[fmt.Sprintf("as base64, shifted by %d", shift)] = encoded[4 : len(encoded)-4]
	}
	for form, value := range forms {
		if strings.Contains(strings.ToLower(text), strings.ToLower(value)) {
			return form
		}
	}
	return ""
}

func secretWorld(t *testing.T) (Identity, *Desired, *Plan) {
	t.Helper()
	id := Identity{ID: testID, NewID: true, Secrets: map[string]Secret{}}
	for _, name := range []string{"admin", "dovecot", "postfix", "probe"} {
		id.Secrets[name], id.New = newSecret(1763830800, secretValue), append(id.New, name)
	}
	set := testSettings("/var/lib/mailstack")
	set.Relays = []Relay{{Relay: images.Relay{Host: "smtp.example.net", Port: 587, User: "me", Password: relayValue}}}
	d := desired(t, set, id)
	if rendered := d.Files["postfix"]; !slices.ContainsFunc(rendered, func(f images.File) bool { return strings.Contains(string(f.Data), relayValue) }) {
		t.Fatal("the secrets are not even rendered")
	}
	p, err := NewPlan(d, bare(d), Options{})
	if err != nil {
		t.Fatal(err)
	}
	return id, d, p
}

// However a value that holds secrets is printed, it does not show them.
func TestSecretsDoNotPrint(t *testing.T) {
	id, d, p := secretWorld(t)
	// fmt asks no method of what it finds in an unexported field.
	type unexported struct {
		secret  Secret
		id      Identity
		desired *Desired
	}
	for i := range d.Images {
		d.Images[i].Context = nil // large; see TestSecretsStayOutOfLabels
	}
	for i, op := range p.Operations {
		if _, ok := op.Action.(BuildImage); ok {
			p.Operations[i].Action = BuildImage{d.Images[0]}
		}
	}
	values := map[string]any{
		"secret": id.Secrets["admin"], "identity": id, "pointer to identity": &id, "desired": *d, "pointer to desired": d,
		"files": d.Files, "settings": d.Settings, "executor": Executor{Desired: d}, "plan": p, "operations": p.Operations,
		"secrets in a list": []any{id.Secrets, d.Files}, "unexported fields": unexported{id.Secrets["admin"], id, d},
		"event": Event{Op: p.Operations[1]}, "observed": bare(d),
	}
	for name, value := range values {
		texts := map[string]string{"print": fmt.Sprint(value)}
		verbs := []string{"v", "+v", "#v", "d", "x", "X", "s", "q"}
		if name == "executor" || name == "unexported fields" {
			verbs = verbs[:6] // vet refuses the others for pointers in structs
		}
		for _, verb := range verbs {
			texts["%"+verb] = fmt.Sprintf("%"+verb, value)
		}
		if data, err := json.Marshal(value); err == nil {
			texts["JSON"] = string(data)
		}
		for how, text := range texts {
			for _, secret := range []string{secretValue, relayValue} {
				if form := shows(text, secret); form != "" {
					t.Errorf("%s by %s shows a secret %s", name, how, form)
				}
			}
		}
	}
	if got := fmt.Sprintf("%v %+v %#v", id.Secrets["admin"], id.Secrets["admin"], id.Secrets["admin"]); got != "[redacted] [redacted] [redacted]" {
		t.Errorf("a secret prints as %s", got)
	}
	for _, v := range []any{id, d.Settings} {
		if _, err := json.Marshal(v); err != nil {
			t.Errorf("JSON of %T: %v", v, err)
		}
	}
}

// Labels are readable by everybody who may ask the engine, plans are shown:
// neither has a secret, nor a hash that its value enters.
func TestSecretsStayOutOfLabels(t *testing.T) {
	_, d, p := secretWorld(t)
	texts := []string{p.String()}
	for _, w := range d.Containers {
		// All that the engine is told, and thus shows.
		spec, err := json.Marshal(w.Spec)
		must(t, err)
		texts = append(texts, string(spec), fmt.Sprint(w))
	}
	for _, v := range d.Volumes {
		if v.Init {
			spec, err := json.Marshal(d.initContainer(v, "/tmp/x"))
			must(t, err)
			texts = append(texts, string(spec))
		}
	}
	for _, image := range d.Images {
		texts = append(texts, string(image.Context))
	}
	for _, text := range texts {
		for _, secret := range []string{secretValue, relayValue} {
			if form := shows(text, secret); form != "" {
				t.Errorf("a secret %s in %.200s", form, text)
			}
		}
	}
}

func TestHashOfSecrets(t *testing.T) {
	spec := func(generation int64, value string, relayGeneration int64, relay string) string {
		id := Identity{ID: testID, Secrets: map[string]Secret{}}
		for _, name := range []string{"admin", "dovecot", "postfix", "probe"} {
			id.Secrets[name] = newSecret(generation, value)
		}
		set := testSettings("/var/lib/mailstack")
		set.Relays = []Relay{{images.Relay{Host: "smtp.example.net", Port: 587, User: "me", Password: relay}, relayGeneration}}
		d := desired(t, set, id)
		return d.Containers[2].Spec.Labels[LabelSpec]
	}
	base := spec(1, secretValue, 1, "one")
	if spec(1, strings.Repeat("Z", secretLength), 1, "two") != base {
		t.Error("the hash depends on the value of a secret")
	}
	if spec(2, secretValue, 1, "one") == base || spec(1, secretValue, 2, "one") == base {
		t.Error("the hash does not depend on the generation of a secret")
	}
}

func TestReadSecret(t *testing.T) {
	needRoot(t)
	good := `{"generation":1763830800,"secret":"` + secretValue + `"}` + "\n"
	write := func(data string, mode fs.FileMode) func(*testing.T, string) {
		return func(t *testing.T, path string) { must(t, WriteFile(path, []byte(data), Owner{Mode: mode})) }
	}
	for name, test := range map[string]struct {
		make func(t *testing.T, path string)
		want string // part of the error; empty: the secret is read
		hint string // part of the hint for another secret than admin
	}{
		"good":           {make: write(good, 0o600)},
		"read-only":      {make: write(good, 0o400)},
		"empty":          {write("", 0o600), "the file is corrupt", "remove "},
		"truncated":      {write(good[:30], 0o600), "the file is corrupt", "remove "},
		"short secret":   {write(`{"generation":1,"secret":"QWERTY"}`, 0o600), "holds no secret that mailstack made", "remove "},
		"other letters":  {write(strings.ToLower(good), 0o600), "holds no secret that mailstack made", "remove "},
		"no generation":  {write(`{"secret":"`+secretValue+`"}`, 0o600), "holds no secret that mailstack made", "remove "},
		"another key":    {write(`{"generation":1,"password":"x"}`, 0o600), "the file is corrupt", "remove "},
		"something more": {write(good+good, 0o600), "the file is corrupt", "remove "},
		"binary":         {write("\x00\xff\x00", 0o600), "the file is corrupt", "remove "},
		"too large":      {write(strings.Repeat(" ", 5000), 0o600), "5000 bytes, more than", "remove "},
		"world-readable": {write(good, 0o644), "mode 0644 lets others read it", "chmod 0600 "},
		"group-readable": {write(good, 0o640), "mode 0640 lets others read it", "chmod 0600 "},
		"directory":      {func(t *testing.T, path string) { must(t, os.Mkdir(path, 0o700)) }, "not a regular file", "remove "},
		"link": {func(t *testing.T, path string) {
			must(t, WriteFile(path+".real", []byte(good), Owner{Mode: 0o600}))
			must(t, os.Symlink(path+".real", path))
		}, "a symbolic link", "remove "},
	} {
		t.Run(name, func(t *testing.T) {
			l := Layout{Dir: t.TempDir()}
			for _, secret := range []string{"postfix", AdminSecret} {
				must(t, makeDir(filepath.Dir(l.SecretFile(secret)), Owner{Mode: 0o700}))
				test.make(t, l.SecretFile(secret))
				s, err := ReadSecret(l, secret)
				if test.want == "" {
					if err != nil || s.Reveal() != secretValue || s.Generation != 1763830800 {
						t.Errorf("read %d %v", s.Generation, err)
					}
					continue
				}
				var typed *SecretError
				if !errors.As(err, &typed) || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), l.SecretFile(secret)) {
					t.Fatalf("error %v, want a SecretError with %q", err, test.want)
				}
				if form := shows(err.Error()+typed.Hint(), secretValue); form != "" {
					t.Errorf("the error shows the secret %s", form)
				}
				hint := test.hint
				if secret == AdminSecret && hint == "remove " {
					hint = "restore " // never thrown away: nothing else opens the database
				}
				if !strings.HasPrefix(typed.Hint(), hint+l.SecretFile(secret)) {
					t.Errorf("hint %q, want %q and the path", typed.Hint(), hint)
				}
			}
		})
	}
}

func TestIdentity(t *testing.T) {
	needRoot(t)
	l := Layout{Dir: t.TempDir()}
	names := []string{"postfix", "admin", "postfix"}
	read := func() Identity {
		t.Helper()
		id, err := ReadIdentity(l, names, testTime)
		must(t, err)
		return id
	}
	first := read()
	if !first.NewID || first.Initialised || !slices.Equal(first.New, []string{"admin", "postfix"}) || len(first.ID) != 26 {
		t.Errorf("identity of an empty directory: %v", first)
	}
	if first.Secrets["admin"].Reveal() == first.Secrets["postfix"].Reveal() || len(first.Secrets["admin"].Reveal()) != secretLength {
		t.Error("the secrets are not two")
	}
	if entries, _ := os.ReadDir(l.Dir); len(entries) > 0 {
		t.Errorf("reading wrote %v", entries)
	}
	x := &Executor{Desired: &Desired{Settings: Settings{Layout: l}, Identity: first}}
	must(t, x.writeID())
	must(t, writeSecret(l, "admin", first.Secrets["admin"]))
	half := read()
	if half.NewID || half.Initialised || half.ID != first.ID || !slices.Equal(half.New, []string{"postfix"}) ||
		half.Secrets["admin"].Reveal() != first.Secrets["admin"].Reveal() {
		t.Errorf("identity of a half-made stack: %v", half)
	}
	must(t, x.completeID())
	if whole := read(); !whole.Initialised || whole.ID != first.ID || !slices.Equal(whole.New, []string{"postfix"}) {
		t.Errorf("identity of an initialised stack: %v", whole)
	}

	must(t, os.Remove(l.SecretFile("admin")))
	_, err := ReadIdentity(l, names, testTime)
	var lost *SecretError
	if !errors.As(err, &lost) || lost.Name != AdminSecret || !strings.Contains(lost.Hint(), "backup") {
		t.Errorf("error without the administrator's secret: %v", err)
	}
	// All that is wrong is told at once.
	must(t, os.WriteFile(l.SecretFile("postfix"), nil, 0o600))
	if _, err = ReadIdentity(l, names, testTime); !strings.Contains(err.Error(), "secret admin") || !strings.Contains(err.Error(), "secret postfix") {
		t.Errorf("error: %v", err)
	}

	for _, bad := range []string{"", "short\n", strings.ToUpper(testID), testID + "\n" + testID, "../../../../../../../../../etc"} {
		must(t, os.WriteFile(l.IDFile(), []byte(bad), 0o600))
		if _, err := ReadIdentity(l, nil, testTime); err == nil || !strings.Contains(err.Error(), "corrupt") || !strings.Contains(err.Error(), MarkName) {
			t.Errorf("id %q: %v", bad, err)
		}
		if _, err := ReadID(l); err == nil {
			t.Errorf("id %q was read", bad)
		}
	}
}

// The database of a half-made stack knows the secret that it was made with.
func TestAdminSecretLostBeforeCompletion(t *testing.T) {
	in := settledPair(t, func(_ *Settings, id *Identity) { id.Initialised, id.New = false, []string{AdminSecret} })
	_, err := NewPlan(in.d, in.o, Options{})
	if err == nil || !strings.Contains(err.Error(), "secret admin") {
		t.Errorf("plan with another secret than the database's: %v", err)
	}
}

// Ids and secrets are on disk before anything is made that needs them.
func TestIdentityIsWrittenFirst(t *testing.T) {
	_, _, p := secretWorld(t)
	secrets := map[int]bool{}
	for i, op := range p.Operations {
		switch op.Action.(type) {
		case WriteID, WriteSecret:
			secrets[i] = true
		case InitVolume, WriteFiles, RunTask, CompleteID:
			for n := range secrets {
				if !slices.Contains(op.Needs, n) {
					t.Errorf("%s does not need operation %d", op.Subject, n)
				}
			}
		}
	}
	if len(secrets) != 5 {
		t.Errorf("%d operations write the identity", len(secrets))
	}
}
