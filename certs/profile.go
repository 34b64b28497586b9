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
	b, complaints := parseBundle(authorities)
	if len(complaints) > 0 || len(b.certs) == 0 {
		return nil, fmt.Errorf("make profile: %d certificates, %v", len(b.certs), complaints)
	}
	type payload struct{ Name, File, ID, UUID, Data string }
	values := struct {
		Name, ID, UUID string
		CAs            []payload
	}{Name: "Mail server " + hostname, ID: "mailstack." + stack, UUID: uuid("mailstack profile " + stack + " " + hostname)}
	for _, c := range b.certs {
		print := fingerprint(c)
		values.CAs = append(values.CAs, payload{
			Name: c.Subject.CommonName, File: print[:16] + ".cer", ID: values.ID + "." + print[:16], UUID: uuid(print),
			Data: base64.StdEncoding.EncodeToString(c.Raw),
		})
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

var profile = template.Must(template.New("profile").Funcs(template.FuncMap{"xml": quoteXML}).Parse(`<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
	<key>PayloadType</key><string>Configuration</string>
	<key>PayloadVersion</key><integer>1</integer>
	<key>PayloadDisplayName</key><string>{{xml .Name}}</string>
	<key>PayloadDescription</key><string>Trusts the certificates of this mail server. Its authority can vouch for no other names.</string>
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
	</array>
</dict>
</plist>
`))

func quoteXML(s string) (string, error) {
	var out bytes.Buffer
	err := xml.EscapeText(&out, []byte(s))
	return out.String(), err
}
