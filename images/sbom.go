package images

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Package is a Debian package that an image holds.
type Package struct {
	Name, Version, Architecture string
	// Source is what it was built from, and what security advisories name.
	Source, SourceVersion string
}

// PackageQuery prints the packages of an image for ParsePackages.
var PackageQuery = []string{
	"dpkg-query", "--show", "--showformat", `${Package}\t${Version}\t${Architecture}\t${source:Package}\t${source:Version}\n`,
}

// ParsePackages reads what PackageQuery prints, and sorts it by name.
func ParsePackages(printed string) ([]Package, error) {
	var packages []Package
	for line := range strings.Lines(printed) {
		line = strings.TrimSuffix(line, "\n")
		fields := strings.Split(line, "\t")
		if len(fields) != 5 || slices.Contains(fields, "") {
			return nil, fmt.Errorf("read packages: dpkg-query says %.200q", line)
		}
		packages = append(packages, Package{fields[0], fields[1], fields[2], fields[3], fields[4]})
	}
	if len(packages) == 0 {
		return nil, fmt.Errorf("read packages: dpkg-query says nothing")
	}
	slices.SortFunc(packages, func(a, b Package) int { return strings.Compare(a.Name+" "+a.Architecture, b.Name+" "+b.Architecture) })
	return packages, nil
}

// url is the package's name everywhere, a package URL of type deb
// (https://github.com/package-url/purl-spec).
func (p Package) url() string {
	url := fmt.Sprintf("pkg:deb/debian/%s@%s?arch=%s&distro=%s", escape(p.Name), escape(p.Version), escape(p.Architecture), Suite)
	if p.Source != p.Name || p.SourceVersion != p.Version {
		url += "&upstream=" + escape(p.Source+"@"+p.SourceVersion)
	}
	return url
}

// escape writes octets that mean something in a package URL as "%2B". net/url
// leaves a plus sign, which stands in every other version, as it is.
func escape(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// component is a part of a CycloneDX document.
type component struct {
	Type    string `json:"type"`
	Ref     string `json:"bom-ref"`
	Name    string `json:"name"`
	Version string `json:"version"`
	URL     string `json:"purl,omitempty"`
}

// SBOM is the software bill of materials of an image, name:tag, as CycloneDX
// (https://cyclonedx.org/docs/1.5/json/). The same packages make the same
// document: it has no time and no number of its own.
func SBOM(ref string, packages []Package) ([]byte, error) {
	name, tag, _ := strings.Cut(ref, ":")
	var document struct {
		Format   string `json:"bomFormat"`
		Spec     string `json:"specVersion"`
		Version  int    `json:"version"`
		Metadata struct {
			Component component `json:"component"`
		} `json:"metadata"`
		Components []component `json:"components"`
	}
	document.Format, document.Spec, document.Version = "CycloneDX", "1.5", 1
	document.Metadata.Component = component{Type: "container", Ref: ref, Name: name, Version: tag}
	document.Components = []component{{Type: "operating-system", Ref: "os", Name: "debian", Version: Suite}}
	for _, p := range packages {
		document.Components = append(document.Components, component{
			Type: "library", Ref: p.url(), Name: p.Name, Version: p.Version, URL: p.url(),
		})
	}
	var out strings.Builder
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(document)
	return []byte(out.String()), err
}
