package acme

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/go-acme/lego/v5/challenge"
	"github.com/go-acme/lego/v5/providers/dns/acmedns"
	"github.com/go-acme/lego/v5/providers/dns/cloudflare"
	"github.com/go-acme/lego/v5/providers/dns/desec"
	"github.com/go-acme/lego/v5/providers/dns/digitalocean"
	"github.com/go-acme/lego/v5/providers/dns/domeneshop"
	"github.com/go-acme/lego/v5/providers/dns/duckdns"
	"github.com/go-acme/lego/v5/providers/dns/gandiv5"
	"github.com/go-acme/lego/v5/providers/dns/godaddy"
	"github.com/go-acme/lego/v5/providers/dns/hetzner"
	"github.com/go-acme/lego/v5/providers/dns/hostingde"
	"github.com/go-acme/lego/v5/providers/dns/httpreq"
	"github.com/go-acme/lego/v5/providers/dns/infomaniak"
	"github.com/go-acme/lego/v5/providers/dns/ionos"
	"github.com/go-acme/lego/v5/providers/dns/netcup"
	"github.com/go-acme/lego/v5/providers/dns/njalla"
	"github.com/go-acme/lego/v5/providers/dns/ovh"
	"github.com/go-acme/lego/v5/providers/dns/pdns"
	"github.com/go-acme/lego/v5/providers/dns/porkbun"
	"github.com/go-acme/lego/v5/providers/dns/rcodezero"
	"github.com/go-acme/lego/v5/providers/dns/simply"
	"github.com/go-acme/lego/v5/providers/dns/transip"

	"mailstack/certs"
)

// providers are the DNS services that can be told to set a record, by the names
// that https://go-acme.github.io/lego/dns/ has for them. It describes their
// settings too. Left out are those whose interface is a large SDK (route53 alone
// adds 5.8 MB to the program, linode 2.8 MB); they are reached through exec,
// httpreq or acme-dns.
var providers = map[string]func() (challenge.Provider, error){
	"rfc2136":      newRFC2136,
	"exec":         newExec,
	"httpreq":      from(httpreq.NewDNSProvider),
	"acme-dns":     from(acmedns.NewDNSProvider),
	"cloudflare":   from(cloudflare.NewDNSProvider),
	"desec":        from(desec.NewDNSProvider),
	"digitalocean": from(digitalocean.NewDNSProvider),
	"domeneshop":   from(domeneshop.NewDNSProvider),
	"duckdns":      from(duckdns.NewDNSProvider),
	"gandiv5":      from(gandiv5.NewDNSProvider),
	"godaddy":      from(godaddy.NewDNSProvider),
	"hetzner":      from(hetzner.NewDNSProvider),
	"hostingde":    from(hostingde.NewDNSProvider),
	"infomaniak":   from(infomaniak.NewDNSProvider),
	"ionos":        from(ionos.NewDNSProvider),
	"netcup":       from(netcup.NewDNSProvider),
	"njalla":       from(njalla.NewDNSProvider),
	"ovh":          from(ovh.NewDNSProvider),
	"pdns":         from(pdns.NewDNSProvider),
	"porkbun":      from(porkbun.NewDNSProvider),
	"rcodezero":    from(rcodezero.NewDNSProvider),
	"simply":       from(simply.NewDNSProvider),
	"transip":      from(transip.NewDNSProvider),
}

// from adapts a constructor of the library.
func from[P challenge.Provider](construct func() (P, error)) func() (challenge.Provider, error) {
	return func() (challenge.Provider, error) {
		p, err := construct()
		if err != nil {
			return nil, err
		}
		return p, nil
	}
}

// Providers lists the names that [Config.DNSProvider] can have.
func Providers() []string { return slices.Sorted(maps.Keys(providers)) }

// environment guards what providers read their settings from.
var environment sync.Mutex

// provider makes the configured provider. The library takes settings from
// environment variables: those of the file are set while it looks, and nothing
// that is started later inherits them.
func (s *Source) provider() (challenge.Provider, error) {
	construct := providers[s.cfg.DNSProvider]
	if construct == nil {
		return nil, certs.Problem{
			File: "tls.acme_dns_provider", Text: fmt.Sprintf("is %q, which is not known", s.cfg.DNSProvider),
			Advice: "Known are " + strings.Join(Providers(), ", ") + ". Any other service can be reached with exec or httpreq.",
		}
	}
	settings, err := s.dnsSettings()
	if err != nil {
		return nil, err
	}
	environment.Lock()
	defer environment.Unlock()
	for key, value := range settings {
		old, was := os.LookupEnv(key)
		if err := os.Setenv(key, value); err != nil {
			return nil, fmt.Errorf("set %s for the DNS provider: %w", key, err)
		}
		defer func() {
			if was {
				_ = os.Setenv(key, old)
			} else {
				_ = os.Unsetenv(key)
			}
		}()
	}
	p, err := construct()
	if err != nil {
		where := s.cfg.DNSEnvFile
		if where == "" {
			where = "tls.acme_dns_env_file"
		}
		return nil, certs.Problem{
			File: where, Text: fmt.Sprintf("does not configure the DNS provider: %v", plain(err)),
			Advice: fmt.Sprintf("https://go-acme.github.io/lego/dns/%s/ describes its settings.", s.cfg.DNSProvider),
		}
	}
	return p, nil
}

// dnsSettings reads the file of KEY=VALUE lines; empty lines and those that
// begin with # do not count, and quotes around a value are taken off.
func (s *Source) dnsSettings() (map[string]string, error) {
	settings := map[string]string{}
	if s.cfg.DNSEnvFile == "" {
		return settings, nil
	}
	content, err := certs.ReadSecret(s.cfg.DNSEnvFile)
	if err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(bytes.NewReader(content))
	for number := 1; lines.Scan(); number++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, value, ok := strings.Cut(strings.TrimPrefix(line, "export "), "=")
		if key = strings.TrimSpace(key); !ok || key == "" || strings.ContainsAny(key, " \t\x00") {
			return nil, certs.Problem{
				File: s.cfg.DNSEnvFile, Text: fmt.Sprintf("has no KEY=VALUE in line %d", number), Advice: "Correct the line.",
			}
		}
		settings[key] = unquote(strings.TrimSpace(value))
	}
	return settings, lines.Err()
}

func unquote(value string) string {
	if n := len(value); n >= 2 && (value[0] == '"' || value[0] == '\'') && value[n-1] == value[0] {
		return value[1 : n-1]
	}
	return value
}

// problems are what a person must mend before anything can be obtained.
func (s *Source) problems() certs.Problems {
	var problems certs.Problems
	add := func(err error) {
		if err != nil {
			problems = append(problems, asProblem("", err))
		}
	}
	if _, err := s.roots(); err != nil {
		add(err)
	}
	if s.cfg.EABKeyID != "" {
		_, err := certs.ReadSecret(s.cfg.EABKeyFile)
		add(err)
	}
	if s.cfg.Challenge == DNS01 {
		_, err := s.provider()
		add(err)
	}
	return problems
}

// asProblem is an error as a problem of a file.
func asProblem(file string, err error) certs.Problem {
	var problem certs.Problem
	if errors.As(err, &problem) {
		return problem
	}
	return certs.Problem{File: file, Text: plain(err).Error()}
}
