package probe

import (
	"context"
	"errors"
	"fmt"

	"mailstack/dns"
)

// recordChecks are the checks of DNS records, one for each purpose. They share
// one look.
func recordChecks() (all []entry) {
	for _, kind := range dns.Kinds() {
		all = append(all, entry{
			Check{Name: dnsCheck + "." + kind[0], About: kind[1], Run: checkRecords(kind[0])},
			func(t *Target) bool { return t.Records != nil },
		})
	}
	return all
}

const recordAdvice = "`mailstack dns check` shows what was expected, and why"

func checkRecords(kind string) Func {
	return func(ctx context.Context, t *Target, tr *Trace) error {
		return lookedAt(ctx, tr, t.Records, "does the database answer? `mailstack status`", func(r dns.Report) error {
			findings := r.Of(kind)
			if len(findings) == 0 {
				tr.note("no such records are needed")
			}
			var errs []error
			better := 0
			for _, f := range findings {
				switch f.Status {
				case dns.Wrong:
					errs = append(errs, &Failure{Kind: KindRecord, Detail: printable(f.Text()), Advice: recordAdvice})
				case dns.Unknown:
					errs = append(errs, &Failure{Kind: KindUnanswered, Detail: printable(f.Text())})
				case dns.Warning:
					better++
				}
			}
			if better > 0 {
				tr.note(fmt.Sprintf("%d recommended records are not there, or not as they could be: `mailstack dns check`", better))
			}
			return errors.Join(errs...)
		})
	}
}
