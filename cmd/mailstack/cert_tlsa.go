package main

import (
	"fmt"
	"slices"

	"mailstack/certs"
	"mailstack/dns"
)

// tlsaRecord is one DNS record of DANE (RFC 6698; for SMTP, RFC 7672). "3 1 1" is
// the SHA-256 of the public key: it stays right for as long as the key does,
// whoever signs the certificate.
type tlsaRecord struct {
	Name string `json:"name"` // "_25._tcp.mail.example.org."
	Data string `json:"data"` // "3 1 1 …"
	Kind string `json:"kind"` // of the key
	Next bool   `json:"next"` // of a key that is not served yet
}

// certTLSA prints the records for every port on which clients find the certificate.
func (a *app) certTLSA(format string) error {
	cfg, err := a.config()
	if err != nil {
		return err
	}
	state, err := a.certState(cfg)
	if err != nil {
		return err
	}
	if state.NextMissing {
		fmt.Fprintln(a.Stderr, "note: the next keys are not all made yet, and their records are missing here: mailstack up")
	}
	var ports []uint16
	for _, l := range startTLS {
		switch port := cfg.Listen.Ports()[l.listener]; {
		case port == 0:
		case l.listener == "smtp":
			ports = append(ports, dns.MXPort)
		default:
			ports = append(ports, port)
		}
	}
	slices.Sort(ports)
	records := []tlsaRecord{}
	for _, port := range ports {
		for _, key := range daneKeys(state) {
			rr := key.Record(port, cfg.Hostname)
			records = append(records, tlsaRecord{Name: rr.Name(), Data: rr.Value(), Kind: key.Kind, Next: key.Next})
		}
	}
	if format == "json" {
		return a.printJSON(records)
	}
	for _, r := range records {
		served := "served"
		if r.Next {
			served = "next"
		}
		if _, err := fmt.Fprintf(a.Stdout, "%s IN TLSA %s ; %s key, %s\n", r.Name, r.Data, r.Kind, served); err != nil {
			return err
		}
	}
	return nil
}

// daneKeys are the keys that are served, and those that will be.
func daneKeys(state certs.State) (keys []dns.Key) {
	add := func(pins []certs.Pin, next bool) {
		for _, pin := range pins {
			keys = append(keys, dns.Key{SHA256: pin.SHA256, Kind: pin.Kind, Next: next})
		}
	}
	add(state.Keys, false)
	add(state.NextKeys, true)
	return keys
}
