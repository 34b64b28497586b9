package clientconfig

import "mailstack/certs"

// mobileconfig is a profile for Apple's devices, which asks for name, address
// and password when it is installed:
// https://developer.apple.com/documentation/devicemanagement/mail
func mobileconfig(s Server) ([]byte, error) {
	in, out, err := s.ports()
	if err != nil {
		return nil, err
	}
	kind := "EmailTypeIMAP"
	if in[0].kind == "pop3" {
		kind = "EmailTypePOP"
	}
	id := "mailstack." + s.Stack + "." + s.Domain
	// True is TLS, from the first byte or by STARTTLS as the port has it.
	const useTLS = true
	description := "Sets up mail at " + s.Domain + "."
	if s.Authority != nil {
		description += " Trusts the certificates of its server, whose authority can vouch for no other names."
	}
	return certs.AppleProfile{
		Name: "Mail at " + s.Domain, Description: description, ID: id, Authorities: s.Authority,
		Payloads: []certs.Payload{{
			Type: "com.apple.mail.managed", Name: "Mail at " + s.Domain, ID: id + ".mail",
			Values: []certs.PayloadValue{
				{Key: "EmailAccountDescription", Value: s.Domain},
				{Key: "EmailAccountType", Value: kind},
				{Key: "IncomingMailServerAuthentication", Value: "EmailAuthPassword"},
				{Key: "IncomingMailServerHostName", Value: s.Hostname},
				{Key: "IncomingMailServerPortNumber", Value: int(s.Ports[in[0].key])},
				{Key: "IncomingMailServerUseSSL", Value: useTLS},
				{Key: "OutgoingMailServerAuthentication", Value: "EmailAuthPassword"},
				{Key: "OutgoingMailServerHostName", Value: s.Hostname},
				{Key: "OutgoingMailServerPortNumber", Value: int(s.Ports[out[0].key])},
				{Key: "OutgoingMailServerUseSSL", Value: useTLS},
				{Key: "OutgoingPasswordSameAsIncomingPassword", Value: true},
			},
		}},
	}.Encode()
}
