package certs

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"text/template"
)

// Profile is a configuration profile (.mobileconfig) that makes Apple's devices
// trust the CAs of a stack, the content of AuthorityFile. A later one for the
// same stack replaces it on the device; the same input gives the same bytes.
// https://developer.apple.com/documentation/devicemanagement/certificateroot
func Profile(stack, hostname string, authorities []byte) ([]byte, error) {
	return AppleProfile{
		Name: "Mail server " + hostname, ID: "mailstack." + stack, Authorities: authorities,
		Description: "Trusts the certificates of this mail server. Its authority can vouch for no other names.",
	}.Encode()
}

// AppleProfile is a configuration profile of CAs to trust and of other payloads,
// of which there has to be one at least.
type AppleProfile struct {
	Name, Description string // for people
	ID                string // a later profile with the same one replaces it
	Authorities       []byte // PEM; nil: none
	Payloads          []Payload
}

// Payload is a part of a profile, as Apple's documentation of its type says.
type Payload struct {
	Type, Name, ID string
	Values         []PayloadValue
}

// PayloadValue is a key of a payload; its value is a string, an int or a bool.
type PayloadValue struct {
	Key   string
	Value any
}

// xml is the value as a property list has it.
func (v PayloadValue) xml() (string, error) {
	switch value := v.Value.(type) {
	case string:
		text, err := quoteXML(value)
		return "<string>" + text + "</string>", err
	case int:
		return fmt.Sprintf("<integer>%d</integer>", value), nil
	case bool:
		return fmt.Sprintf("<%t/>", value), nil
	}
	return "", fmt.Errorf("%s: a property list has no %T", v.Key, v.Value)
}

// Encode writes the profile; the same one gives the same bytes.
func (p AppleProfile) Encode() ([]byte, error) {
	type root struct{ Name, File, ID, UUID, Data string }
	type part struct {
		Payload
		UUID string
	}
	values := struct {
		AppleProfile
		UUID  string
		CAs   []root
		Parts []part
	}{AppleProfile: p, UUID: uuid("mailstack profile " + p.ID + " " + p.Name)}
	if p.Authorities != nil || p.Payloads == nil {
		b, complaints := parseBundle(p.Authorities)
		if len(complaints) > 0 || len(b.certs) == 0 {
			return nil, fmt.Errorf("make profile: %d certificates, %v", len(b.certs), complaints)
		}
		for _, c := range b.certs {
			print := fingerprint(c)
			values.CAs = append(values.CAs, root{
				Name: c.Subject.CommonName, File: print[:16] + ".cer", ID: p.ID + "." + print[:16], UUID: uuid(print),
				Data: base64.StdEncoding.EncodeToString(c.Raw),
			})
		}
	}
	for _, payload := range p.Payloads {
		values.Parts = append(values.Parts, part{payload, uuid("mailstack payload " + payload.ID)})
	}
	var out bytes.Buffer
	if err := profile.Execute(&out, values); err != nil {
		return nil, fmt.Errorf("make profile: %w", err)
	}
	return out.Bytes(), nil
}

// uuid makes one of a text, by a hash of our own (version 8, RFC 9562 section 5.8).
func uuid(text string) string {
	sum := sha256.Sum256([]byte(text))
	sum[6], sum[8] = sum[6]&0x0f|0x80, sum[8]&0x3f|0x80
	return fmt.Sprintf("%X-%X-%X-%X-%X", sum[0:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
}

var profile = template.Must(template.New("profile").Funcs(template.FuncMap{"xml": quoteXML, "value": PayloadValue.xml}).Parse(`<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
	<key>PayloadType</key><string>Configuration</string>
	<key>PayloadVersion</key><integer>1</integer>
	<key>PayloadDisplayName</key><string>{{xml .Name}}</string>
	<key>PayloadDescription</key><string>{{xml .Description}}</string>
	<key>PayloadIdentifier</key><string>{{xml .ID}}</string>
	<key>PayloadUUID</key><string>{{.UUID}}</string>
	<key>PayloadContent</key>
	<array>
{{- range .CAs}}
		<dict>
			<key>PayloadType</key><string>com.apple.security.root</string>
			<key>PayloadVersion</key><integer>1</integer>
			<key>PayloadDisplayName</key><string>{{xml .Name}}</string>
			<key>PayloadIdentifier</key><string>{{xml .ID}}</string>
			<key>PayloadUUID</key><string>{{.UUID}}</string>
			<key>PayloadCertificateFileName</key><string>{{.File}}</string>
			<key>PayloadContent</key>
			<data>
{{.Data}}
			</data>
		</dict>
{{- end}}
{{- range .Parts}}
		<dict>
			<key>PayloadType</key><string>{{.Type}}</string>
			<key>PayloadVersion</key><integer>1</integer>
			<key>PayloadDisplayName</key><string>{{xml .Name}}</string>
			<key>PayloadIdentifier</key><string>{{xml .ID}}</string>
			<key>PayloadUUID</key><string>{{.UUID}}</string>
{{- range .Values}}
			<key>{{.Key}}</key>{{value .}}
{{- end}}
		</dict>
{{- end}}
	</array>
</dict>
</plist>
`))

func quoteXML(s string) (string, error) {
	var out bytes.Buffer
	err := xml.EscapeText(&out, []byte(s))
	return out.String(), err
}
