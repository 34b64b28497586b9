package acme

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"mailstack/dns/ask"
)

// queryTimeout bounds one question to one name server.
const queryTimeout = 5 * time.Second

// lookup asks name servers for records: those in charge, or the resolvers.
type lookup struct {
	inCharge  *ask.Client
	resolvers []*ask.Client // each asks one
}

// newLookup makes a lookup; port is that of the servers in charge.
func newLookup(resolvers []string, port string) *lookup {
	l := &lookup{inCharge: ask.New(ask.Options{Resolvers: resolvers, ByResolvers: true, Port: port, Timeout: queryTimeout})}
	for _, address := range resolvers {
		l.resolvers = append(l.resolvers, ask.New(ask.Options{Server: address, Timeout: queryTimeout}))
	}
	return l
}

// serves says whether all servers in charge of a record serve it; seen is what one
// of them answered otherwise. One that does not answer cannot serve something else
// either. Where none can be asked, because their names are not known here or
// outgoing questions are blocked, the resolvers are.
func (l *lookup) serves(ctx context.Context, fqdn, value string) (there bool, seen string) {
	answers, err := l.inCharge.AskAll(ctx, fqdn, dns.TypeTXT)
	if err != nil {
		for _, resolver := range l.resolvers {
			answer, failed := resolver.Ask(ctx, fqdn, dns.TypeTXT, 0)
			if failed != nil {
				err = fmt.Errorf("%w; %w", err, failed)
				continue
			}
			answers = append(answers, answer)
		}
		if len(answers) == 0 {
			return false, err.Error()
		}
	}
	for _, answer := range answers {
		if values := texts(answer.Records); !slices.Contains(values, value) {
			return false, fmt.Sprintf("%s answers %q", answer.Server, values)
		}
	}
	return true, ""
}

func texts(records []dns.RR) []string {
	values := []string{}
	for _, rr := range records {
		if txt, ok := rr.(*dns.TXT); ok {
			values = append(values, strings.Join(txt.Txt, ""))
		}
	}
	return values
}
