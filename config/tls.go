package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// TLS says where certificates come from and what is in them. What another
// mode reads is checked and otherwise left alone, so that the mode can be
// switched back and forth.
type TLS struct {
	Mode     string   `toml:"mode"`      // "self-signed", "acme" or "files"
	Names    []string `toml:"names"`     // further names in the certificate, as Hostname or "*.example.org"; see [Config.CertificateNames]
	Key      string   `toml:"key"`       // "ecdsa" (P-256) or "rsa" (3072 bits); not for files, which bring theirs
	RSATwin  bool     `toml:"rsa_twin"`  // a second certificate with an RSA key; only with Key "ecdsa", not for files
	ReuseKey bool     `toml:"reuse_key"` // a renewal keeps the key; not for files
	Extra    []string `toml:"extra"`     // absolute paths of PEM files, or of directories with fullchain.pem and privkey.pem

	CertFile string `toml:"cert_file"` // absolute path; set where Mode is "files"
	KeyFile  string `toml:"key_file"`  // absolute path; empty: the key is in CertFile

	ACMEDirectory   string   `toml:"acme_directory"`     // https URL of the CA's directory (RFC 8555 section 7.1.1)
	ACMETermsAgreed bool     `toml:"acme_terms_agreed"`  // true where Mode is "acme"
	ACMEEmail       string   `toml:"acme_email"`         // contact of the account; empty: none
	ACMEChallenge   string   `toml:"acme_challenge"`     // "http-01", "tls-alpn-01" or "dns-01"
	ACMEHTTPAddress string   `toml:"acme_http_address"`  // host:port to listen on for http-01; the host may be empty: all addresses
	ACMEWebroot     string   `toml:"acme_webroot"`       // absolute path of a web server's files; empty: mailstack listens itself
	ACMETLSAddress  string   `toml:"acme_tls_address"`   // host:port to listen on for tls-alpn-01
	ACMEDNSProvider string   `toml:"acme_dns_provider"`  // name of a provider for dns-01; set where ACMEChallenge is "dns-01"
	ACMEDNSEnvFile  string   `toml:"acme_dns_env_file"`  // absolute path of the provider's KEY=VALUE settings; empty: none
	ACMEResolvers   []string `toml:"acme_dns_resolvers"` // host:port of recursive servers to find the zone's own by; empty: the host's
	ACMEProfile     string   `toml:"acme_profile"`       // name of a certificate profile; empty: the CA's choice
	ACMEEABKeyID    string   `toml:"acme_eab_kid"`       // of an external account binding (RFC 8555 section 7.3.4); empty: none
	ACMEEABHMACFile string   `toml:"acme_eab_hmac_file"` // absolute path of its key, base64url; set exactly when ACMEEABKeyID is
	ACMECAFile      string   `toml:"acme_ca_file"`       // absolute path of PEM certificates that vouch for the directory; empty: the system's
}

const letsEncrypt = "https://acme-v02.api.letsencrypt.org/directory"

func defaultTLS() TLS {
	return TLS{
		Mode:            "self-signed",
		Names:           []string{},
		Key:             "ecdsa",
		Extra:           []string{},
		ACMEDirectory:   letsEncrypt,
		ACMEChallenge:   "http-01",
		ACMEHTTPAddress: ":80",
		ACMETLSAddress:  ":443",
		ACMEResolvers:   []string{},
	}
}

// CertificateNames is every name that the certificate is for: the host name
// first, then its aliases, then tls.names.
func (c Config) CertificateNames() []string {
	return slices.Concat([]string{c.Hostname}, c.Aliases, c.TLS.Names)
}

var tlsSettings = []setting{
	{
		key: "tls.mode",
		doc: `Where certificates come from. "self-signed": a certificate authority of the
stack's own, which the first "mailstack up" makes. "acme": a public authority,
asked and renewed by mailstack. "files": yours. The mode can be changed at any
time, by "mailstack up"; open sessions stay.`,
		field: func(c *Config) any { return &c.TLS.Mode },
		check: oneOf("a mode", "self-signed", "acme", "files"),
	},
	{
		key: "tls.names",
		doc: `Names for the certificate that are not the mail server's own, such as
"autoconfig.example.org", "mta-sts.example.org" or "*.example.org".`,
		field: func(c *Config) any { return &c.TLS.Names },
		check: checkCertificateName,
	},
	{
		key: "tls.key",
		doc: `Of the certificates that mailstack makes or asks for: the kind of key, "ecdsa"
(P-256) or "rsa" (3072 bits); with an "ecdsa" key, a second certificate with
an RSA key for very old programs; and whether a renewal keeps the key. A key
of its own each time limits what a stolen one is worth. A kept one spares you
the new TLSA record (DANE), where nobody can publish it before a renewal. So
that its record can be published first, another kind of key is served after the
next renewal: "mailstack cert renew", with --rollover where keys are kept.`,
		field: func(c *Config) any { return &c.TLS.Key },
		check: oneOf("a kind of key", "ecdsa", "rsa"),
	},
	{key: "tls.rsa_twin", field: func(c *Config) any { return &c.TLS.RSATwin }},
	{key: "tls.reuse_key", field: func(c *Config) any { return &c.TLS.ReuseKey }},
	{
		key: "tls.extra",
		doc: `Certificates for further names, served to those who ask for one of these (SNI):
each an absolute path of a PEM file with chain and key, or of a directory with
fullchain.pem and privkey.pem. The names are those in the certificate.`,
		field: func(c *Config) any { return &c.TLS.Extra },
		check: checkPath,
	},
	{
		key: "tls.cert_file",
		doc: `For mode "files": absolute paths of PEM files. The chain may be in any order;
with key_file = "" the key is in cert_file too. Nobody but their owner may be
able to read the key. A changed file is served after "mailstack cert renew",
after the next maintenance, or at once under "mailstack maintain --watch".`,
		field:    func(c *Config) any { return &c.TLS.CertFile },
		check:    checkPath,
		optional: true,
	},
	{key: "tls.key_file", field: func(c *Config) any { return &c.TLS.KeyFile }, check: checkPath, optional: true},
	{
		key: "tls.acme_directory",
		doc: `For mode "acme": the authority, whose terms you agree to with true, and whom it
may write to about your certificates ("" for nobody).`,
		field: func(c *Config) any { return &c.TLS.ACMEDirectory },
		check: checkDirectoryURL,
	},
	{key: "tls.acme_terms_agreed", field: func(c *Config) any { return &c.TLS.ACMETermsAgreed }},
	{key: "tls.acme_email", field: func(c *Config) any { return &c.TLS.ACMEEmail }, check: checkAddress, optional: true},
	{
		key: "tls.acme_challenge",
		doc: `How to show the authority that the names are yours. "http-01": it fetches a file
from port 80 of each name, from mailstack itself on acme_http_address, or from
your web server, whose files are in acme_webroot. "tls-alpn-01": it connects to
port 443, to mailstack on acme_tls_address. "dns-01": it looks for a record.`,
		field: func(c *Config) any { return &c.TLS.ACMEChallenge },
		check: oneOf("a challenge", "http-01", "tls-alpn-01", "dns-01"),
	},
	{key: "tls.acme_http_address", field: func(c *Config) any { return &c.TLS.ACMEHTTPAddress }, check: checkListenPort},
	{key: "tls.acme_webroot", field: func(c *Config) any { return &c.TLS.ACMEWebroot }, check: checkPath, optional: true},
	{key: "tls.acme_tls_address", field: func(c *Config) any { return &c.TLS.ACMETLSAddress }, check: checkListenPort},
	{
		key: "tls.acme_dns_provider",
		doc: `For "dns-01": who serves your zone, such as "rfc2136" or "exec"; the absolute
path of a file with its settings, a KEY=VALUE a line, that only its owner can
read; and the resolvers to find your name servers by ([] is this host's), which
"mailstack dns check" uses too.`,
		field:    func(c *Config) any { return &c.TLS.ACMEDNSProvider },
		check:    checkWord("a provider", "rfc2136"),
		optional: true,
	},
	{key: "tls.acme_dns_env_file", field: func(c *Config) any { return &c.TLS.ACMEDNSEnvFile }, check: checkPath, optional: true},
	{key: "tls.acme_dns_resolvers", field: func(c *Config) any { return &c.TLS.ACMEResolvers }, check: checkResolver},
	{
		key: "tls.acme_profile",
		doc: `What some authorities ask for: a profile ("tlsserver", "shortlived"; "" is the
authority's choice); an account's key id with the absolute path of a file that
holds its HMAC key and that only its owner can read; and a PEM file with the
certificate of a private authority's web site.`,
		field:    func(c *Config) any { return &c.TLS.ACMEProfile },
		check:    checkWord("a profile", "shortlived"),
		optional: true,
	},
	{key: "tls.acme_eab_kid", field: func(c *Config) any { return &c.TLS.ACMEEABKeyID }, check: checkKeyID, optional: true},
	{key: "tls.acme_eab_hmac_file", field: func(c *Config) any { return &c.TLS.ACMEEABHMACFile }, check: checkPath, optional: true},
	{key: "tls.acme_ca_file", field: func(c *Config) any { return &c.TLS.ACMECAFile }, check: checkPath, optional: true},
}

// oneOf takes one of a few words.
func oneOf(what string, words ...string) func(string) (string, error) {
	return func(s string) (string, error) {
		if slices.Contains(words, s) {
			return s, nil
		}
		last := len(words) - 1
		return "", fmt.Errorf("%q is not %s: allowed is \"%s\" or %q", s, what, strings.Join(words[:last], `", "`), words[last])
	}
}

var word = regexp.MustCompile(`^[a-z0-9][a-z0-9_.-]{0,63}$`)

// checkWord takes one of words that somebody else has the list of.
func checkWord(what, example string) func(string) (string, error) {
	return func(s string) (string, error) {
		if !word.MatchString(s) {
			return "", fmt.Errorf("%q is not %s: allowed is one word in small letters, like %q", s, what, example)
		}
		return s, nil
	}
}

// checkKeyID takes an ASCII string without blanks (RFC 8555 section 7.3.4).
func checkKeyID(s string) (string, error) {
	if !ascii(s) || strings.Contains(s, " ") {
		return "", fmt.Errorf("%q is not a key id: allowed is one ASCII word without blanks", s)
	}
	return s, nil
}

func checkDirectoryURL(s string) (string, error) {
	const allowed = `allowed is one like "` + letsEncrypt + `"`
	if strings.Contains(s, "@") { // not quoted: a password may stand before it
		return "", errors.New("not the URL of an ACME directory: " + allowed + ", without user and password")
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" || u.Host == "" || strings.ContainsAny(s, " \"'") {
		return "", fmt.Errorf("%q is not the https URL of an ACME directory: %s", s, allowed)
	}
	return s, nil
}

// checkListenPort takes what a challenge is answered on: port 80 or 443 as the
// authority sees it, which may be another one here, behind a router or proxy.
func checkListenPort(s string) (string, error) {
	const allowed = `allowed is a port after a colon, like ":80", or an IP address of this host before it, like "192.0.2.1:80"`
	host, port, err := splitHostPort(s)
	if err != nil {
		return "", fmt.Errorf("%q is not an address to listen on: %s", s, allowed)
	}
	if host == "" {
		return ":" + port, nil
	}
	addr, err := parseListenAddress(host)
	if err != nil {
		return "", err
	}
	return net.JoinHostPort(addr.String(), port), nil
}

func checkResolver(s string) (string, error) {
	const allowed = `allowed is an IP address, with a port where it is not 53, like "192.0.2.53" or "[2001:db8::53]:5353"`
	if addr, err := netip.ParseAddr(s); err == nil {
		return net.JoinHostPort(addr.String(), "53"), nil
	}
	host, port, err := splitHostPort(s)
	if err == nil {
		if addr, err := netip.ParseAddr(host); err == nil {
			return net.JoinHostPort(addr.String(), port), nil
		}
	}
	return "", fmt.Errorf("%q is not a resolver: %s", s, allowed)
}

func splitHostPort(s string) (host, port string, err error) {
	if host, port, err = net.SplitHostPort(s); err != nil {
		return "", "", err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return "", "", fmt.Errorf("%q is not a port", port)
	}
	return host, strconv.FormatUint(n, 10), nil
}

// agreeTLS checks what the mode that is switched on needs.
func (r *reading) agreeTLS() {
	c, tls := &r.config, r.config.TLS
	if r.ok("tls.names", "hostname", "aliases") {
		for _, name := range tls.Names {
			switch {
			case name == c.Hostname:
				r.refuse("tls.names", fmt.Sprintf("%q is the hostname: allowed are further names", name))
			case slices.Contains(c.Aliases, name):
				r.refuse("tls.names", fmt.Sprintf("%q is in aliases already: allowed is once", name))
			}
		}
	}
	if r.ok("tls.rsa_twin", "tls.key") && tls.RSATwin && tls.Key == "rsa" {
		r.refuse("tls.rsa_twin", `the key is "rsa" already: allowed is true with key = "ecdsa"`)
	}
	if r.ok("tls.cert_file", "tls.key_file") && tls.CertFile == "" && tls.KeyFile != "" {
		r.refuse("tls.cert_file", "not set: tls.key_file is of no use without it", "tls.key_file")
	}
	if !r.ok("tls.mode") {
		return
	}
	switch tls.Mode {
	case "files":
		r.agreeFiles()
	case "acme":
		r.agreeACME()
	}
}

func (r *reading) agreeFiles() {
	tls := r.config.TLS
	if r.ok("tls.cert_file") && tls.CertFile == "" {
		r.refuse("tls.cert_file", `not set: mode "files" needs the path of a certificate`, "tls.mode")
	}
	if r.ok("tls.rsa_twin") && tls.RSATwin {
		r.refuse("tls.rsa_twin", `mailstack makes no keys in mode "files": allowed is a second key and certificate in cert_file`)
	}
	if r.ok("tls.cert_file", "data.dir") && inside(tls.CertFile, path.Join(r.config.Data.Dir, "ca")) {
		r.refuse("tls.cert_file", fmt.Sprintf("%q is where mailstack keeps what it serves: allowed is a file elsewhere", tls.CertFile))
	}
}

func (r *reading) agreeACME() {
	c, tls := &r.config, r.config.TLS
	if r.ok("tls.acme_terms_agreed", "tls.acme_directory") && !tls.ACMETermsAgreed {
		r.refuse("tls.acme_terms_agreed", fmt.Sprintf("not true: an authority gives certificates only to those who agree to its terms; %s names them", tls.ACMEDirectory), "tls.mode")
	}
	if r.ok("hostname", "tls.acme_directory") && belowLocalhost(c.Hostname) && tls.ACMEDirectory == letsEncrypt {
		r.refuse("tls.mode", fmt.Sprintf("no public authority gives a certificate for %q: allowed is a real hostname", c.Hostname))
	}
	if r.ok("tls.acme_dns_provider", "tls.acme_challenge") && tls.ACMEChallenge == "dns-01" && tls.ACMEDNSProvider == "" {
		r.refuse("tls.acme_dns_provider", `not set: the challenge "dns-01" needs somebody who can set a record`, "tls.acme_challenge")
	}
	if r.ok("tls.names", "tls.acme_challenge") && tls.ACMEChallenge != "dns-01" {
		for _, name := range tls.Names {
			if strings.HasPrefix(name, "*.") { // https://letsencrypt.org/docs/challenge-types/
				r.refuse("tls.names", fmt.Sprintf("%q cannot be shown with %q: allowed are wildcards with acme_challenge = \"dns-01\"", name, tls.ACMEChallenge), "tls.acme_challenge")
			}
		}
	}
	if !r.ok("tls.acme_eab_kid", "tls.acme_eab_hmac_file") {
		return
	}
	switch {
	case tls.ACMEEABKeyID != "" && tls.ACMEEABHMACFile == "":
		r.refuse("tls.acme_eab_hmac_file", "not set: tls.acme_eab_kid needs its key", "tls.acme_eab_kid")
	case tls.ACMEEABKeyID == "" && tls.ACMEEABHMACFile != "":
		r.refuse("tls.acme_eab_kid", "not set: tls.acme_eab_hmac_file is the key of a key id", "tls.acme_eab_hmac_file")
	}
}
