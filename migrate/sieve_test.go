package migrate

import "testing"

func TestTranslateScript(t *testing.T) {
	for _, test := range []struct {
		name, prefix string
		separator    byte
		in, out      string
	}{
		{"same names", "", '/', `fileinto "a.b";`, `fileinto "a.b";`},
		{"separator", "", '.', `fileinto "Lists.go";`, `fileinto "Lists/go";`},
		{"prefix", "INBOX.", '.', `fileinto "INBOX.Lists.go";`, `fileinto "Lists/go";`},
		{"prefix in other letters", "INBOX.", '.', `fileinto "inbox.Lists";`, `fileinto "Lists";`},
		{"the inbox", "INBOX.", '.', `fileinto "INBOX";`, `fileinto "INBOX";`},
		{"prefix alone", "INBOX.", '.', `fileinto "INBOX.";`, `fileinto "INBOX/";`},
		{"prefix with the separator of here", "INBOX/", '/', `fileinto "INBOX/a.b";`, `fileinto "a.b";`},
		{"arguments", "", '.', `FileInto :copy :flags ["\\Seen", "a.b"] :create "x.y";`, `FileInto :copy :flags ["\\Seen", "a.b"] :create "x/y";`},
		{"other commands", "", '.', `redirect "a.b@example.org"; keep; if header :is "x.y" "a.b" { fileinto "c.d"; }`, `redirect "a.b@example.org"; keep; if header :is "x.y" "a.b" { fileinto "c/d"; }`},
		{"comments", "", '.', "# fileinto \"a.b\";\n/* fileinto \"a.b\"; */ fileinto \"a.b\"; # it's", "# fileinto \"a.b\";\n/* fileinto \"a.b\"; */ fileinto \"a/b\"; # it's"},
		{"text", "", '.', "vacation text:\nfileinto \"a.b\";\n.\n;\nfileinto \"a.b\";", "vacation text:\nfileinto \"a.b\";\n.\n;\nfileinto \"a/b\";"},
		{"variables", "", '.', `fileinto "Lists.${vnd.name}.x";`, `fileinto "Lists/${vnd.name}/x";`},
		{"quoting", "", '.', `fileinto "a\"b.c\\d";`, `fileinto "a\"b/c\\d";`},
		{"mailboxexists", "", '.', `if mailboxexists ["a.b", "c.d"] { keep; } if anyof(mailboxexists "e.f", header "g.h" "i.j") {}`, `if mailboxexists ["a/b", "c/d"] { keep; } if anyof(mailboxexists "e/f", header "g.h" "i.j") {}`},
		{"beyond ASCII", "", '.', `fileinto "Entwürfe.März";`, `fileinto "Entwürfe/März";`},
		{"no end", "", '.', `fileinto "a.b"; "`, `fileinto "a.b"; "`},
		{"no end of a comment", "", '.', `fileinto "a.b"; /* `, `fileinto "a.b"; /* `},
		{"end after a backslash", "", '.', `fileinto "a.b"; "\`, `fileinto "a.b"; "\`},
		{"nothing", "", '.', "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			out, err := translateScript(test.in, test.prefix, test.separator)
			if out != test.out {
				t.Errorf("%s\nbecame %s\nwant   %s (%v)", test.in, out, test.out, err)
			}
		})
	}
}

func FuzzTranslateScript(f *testing.F) {
	f.Add(`fileinto :copy "INBOX.a.b"; text:`, "INBOX.", byte('.'))
	f.Fuzz(func(t *testing.T, script, prefix string, separator byte) {
		once, err := translateScript(script, prefix, separator)
		if err != nil && once != script {
			t.Errorf("%q became %q with %v", script, once, err)
		}
	})
}
