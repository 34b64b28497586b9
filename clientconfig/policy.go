package clientconfig

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// Policy is what a domain tells other mail servers of TLS (MTA-STS, RFC 8461).
type Policy struct {
	// MX are the names of its mail servers. Empty: the policy is that there is
	// none, which lets go those who have an older one.
	MX []string
}

// PolicyFor is the policy of a domain: TLS always, where its server takes mail
// and its certificate is of an authority that every system knows.
func PolicyFor(s Server) Policy {
	if !s.Known || s.Ports["smtp"] == 0 {
		return Policy{}
	}
	return Policy{MX: []string{s.Hostname}}
}

// How long others remember a policy, in seconds: a week for what holds (weeks
// are what section 3.2 wants), a day for what ends.
const (
	remembered = 7 * 24 * 60 * 60
	forgotten  = 24 * 60 * 60
)

// Text is the policy as a web server has it.
func (p Policy) Text() []byte {
	if len(p.MX) == 0 {
		return fmt.Appendf(nil, "version: STSv1\nmode: none\nmax_age: %d\n", forgotten)
	}
	var out strings.Builder
	out.WriteString("version: STSv1\nmode: enforce\n")
	for _, mx := range p.MX {
		fmt.Fprintf(&out, "mx: %s\n", mx)
	}
	fmt.Fprintf(&out, "max_age: %d\n", remembered)
	return []byte(out.String())
}

// ID is for the record in the DNS: another one for another policy. It is empty
// where there is none.
func (p Policy) ID() string {
	if len(p.MX) == 0 {
		return ""
	}
	sum := sha256.Sum256(p.Text())
	return hex.EncodeToString(sum[:8])
}
