package clientconfig

import (
	"encoding/xml"
	"strings"
)

// The answer that Outlook wants to its question in XML ("POX"), for mailboxes
// that are not on an Exchange server:
// https://learn.microsoft.com/en-us/openspecs/exchange_server_protocols/ms-oxdscli/

type autodiscoverAnswer struct {
	XMLName  xml.Name `xml:"http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006 Autodiscover"`
	Response response
}

type response struct {
	XMLName xml.Name `xml:"http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a Response"`
	Account account
}

type account struct {
	AccountType string
	Action      string
	Protocol    []protocol
}

// protocol has no LoginName: that would be the address, which a file does not
// know.
type protocol struct {
	Type           string
	Server         string
	Port           uint16
	DomainRequired string
	SPA            string // NTLM and its like
	SSL            string
	Encryption     string // takes the place of SSL where it is known
	AuthRequired   string
}

func autodiscover(s Server) ([]byte, error) {
	in, out, err := s.ports()
	if err != nil {
		return nil, err
	}
	answer := autodiscoverAnswer{Response: response{Account: account{AccountType: "email", Action: "settings"}}}
	told := map[string]bool{}
	for _, p := range append(in, out...) {
		if told[p.kind] { // Outlook takes one of each
			continue
		}
		told[p.kind] = true
		encryption := "TLS" // its word for STARTTLS
		if p.tls {
			encryption = "SSL"
		}
		answer.Response.Account.Protocol = append(answer.Response.Account.Protocol, protocol{
			Type: strings.ToUpper(p.kind), Server: s.Hostname, Port: s.Ports[p.key],
			DomainRequired: "off", SPA: "off", SSL: "on", Encryption: encryption, AuthRequired: "on",
		})
	}
	return encode(answer)
}
