package images

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSBOM(t *testing.T) {
	packages, err := ParsePackages("zlib1g\t1:1.3.dfsg+really1.3.1-1+b1\tamd64\tzlib\t1:1.3.dfsg+really1.3.1-1\nadduser\t3.152\tall\tadduser\t3.152\n")
	if err != nil {
		t.Fatal(err)
	}
	document, err := SBOM("mailstack/postfix:abc", packages)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		BOMFormat, SpecVersion string
		Metadata               struct{ Component map[string]string }
		Components             []map[string]string
	}
	if err := json.Unmarshal(document, &got); err != nil {
		t.Fatal(err)
	}
	if got.BOMFormat != "CycloneDX" || got.SpecVersion != "1.5" {
		t.Errorf("%s", document)
	}
	const adduser = "pkg:deb/debian/adduser@3.152?arch=all&distro=trixie"
	const zlib = "pkg:deb/debian/zlib1g@1%3A1.3.dfsg%2Breally1.3.1-1%2Bb1?arch=amd64&distro=trixie&upstream=zlib%401%3A1.3.dfsg%2Breally1.3.1-1"
	want := []map[string]string{
		{"type": "operating-system", "bom-ref": "os", "name": "debian", "version": "trixie"},
		{"type": "library", "bom-ref": adduser, "name": "adduser", "version": "3.152", "purl": adduser},
		{"type": "library", "bom-ref": zlib, "name": "zlib1g", "version": "1:1.3.dfsg+really1.3.1-1+b1", "purl": zlib},
	}
	if diff := cmp.Diff(want, got.Components); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]string{"type": "container", "bom-ref": "mailstack/postfix:abc", "name": "mailstack/postfix", "version": "abc"}, got.Metadata.Component); diff != "" {
		t.Error(diff)
	}
}

func TestParsePackagesRefuses(t *testing.T) {
	for _, printed := range []string{"", "\n", "a\tb\tc\td\n", "a\t\tc\td\te\n", "dpkg-query: error\n"} {
		if got, err := ParsePackages(printed); err == nil {
			t.Errorf("%q is %v", printed, got)
		}
	}
}
