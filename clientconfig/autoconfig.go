package clientconfig

import "encoding/xml"

// The document of Thunderbird, which KMail, Evolution and others read too:
// https://www.bucksch.org/1/projects/thunderbird/autoconfiguration/config-file-format.html

type clientConfig struct {
	XMLName  xml.Name      `xml:"clientConfig"`
	Version  string        `xml:"version,attr"`
	Provider emailProvider `xml:"emailProvider"`
}

type emailProvider struct {
	ID        string       `xml:"id,attr"`
	Domain    string       `xml:"domain"`
	Name      string       `xml:"displayName"`
	ShortName string       `xml:"displayShortName"`
	Incoming  []mailServer `xml:"incomingServer"`
	Outgoing  []mailServer `xml:"outgoingServer"`
}

type mailServer struct {
	Type           string `xml:"type,attr"`
	Hostname       string `xml:"hostname"`
	Port           uint16 `xml:"port"`
	Socket         string `xml:"socketType"`
	Authentication string `xml:"authentication"`
	User           string `xml:"username"`
}

func autoconfig(s Server) ([]byte, error) {
	in, out, err := s.ports()
	if err != nil {
		return nil, err
	}
	list := func(ports []port) (all []mailServer) {
		for _, p := range ports {
			socket := "STARTTLS"
			if p.tls {
				socket = "SSL"
			}
			all = append(all, mailServer{
				Type: p.kind, Hostname: s.Hostname, Port: s.Ports[p.key], Socket: socket,
				Authentication: "password-cleartext", // inside of TLS
				User:           "%EMAILADDRESS%",
			})
		}
		return all
	}
	return encode(clientConfig{Version: "1.1", Provider: emailProvider{
		ID: s.Domain, Domain: s.Domain, Name: s.Domain, ShortName: s.Domain, Incoming: list(in), Outgoing: list(out),
	}})
}
