package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// TestOutgoingDANEBeforeMTASTS: where a domain has signed TLSA records and a policy, the
// records alone decide (RFC 8461, section 2). A server with one of their keys gets its
// mail although the policy names another server and no authority signed its certificate;
// one with another key gets none although it is as the policy wants it.
func TestOutgoingDANEBeforeMTASTS(t *testing.T) {
	t.Parallel()
	s := newSmallStack(t)
	s.up(t, "--no-probe")
	gateway := s.gateway(t)
	ca := newPublicAuthority(t)
	policies := map[string]string{}
	records := tlsaOf("mx.dane.example.", ca.stranger) + tlsaOf("mx.policy.example.", ca.stranger)
	for _, d := range []struct {
		name, mx string // mx: that of the policy
		signed   bool   // its server's certificate, by the authority
	}{
		{"dane", "mx.other.example", false},
		{"policy", "mx.policy.example", true},
		// Without TLSA records the policies decide.
		{"dane-less", "mx.other.example", false},
		{"policy-alone", "mx.policy-alone.example", true},
	} {
		domain, mx, web := d.name+".example", "mx."+d.name+".example", "mta-sts."+d.name+".example"
		if d.signed {
			ca.sign(t, mx)
		}
		ca.sign(t, web)
		policies[web] = policyFile("enforce", d.mx)
		records += fmt.Sprintf("%s. MX 10 %s.\n%[2]s. A %s\n%s. A %[3]s\n_mta-sts.%[1]s. TXT \"v=STSv1; id=20261130;\"\n", domain, mx, gateway, web)
	}
	startKnot(t, "", zoneFile{name: ".", options: knotSigned, records: records}).resolver(t, gateway, []string{"."}, nil)
	servePolicies(t, gateway, ca.certificate, policies)
	ca.believed(t, s, gateway)
	o := &outgoing{Stack: s, exchangers: newExchangers(t, gateway, ca.certificate)}
	o.user, o.password = s.account(t)

	o.arrives(t, "policy-alone.example", true)
	o.waits(t, "dane-less.example", "")
	o.arrives(t, "dane.example", true)
	if log := docker(t, "logs", s.container("postfix")); !strings.Contains(log, "Verified TLS connection established to mx.dane.example[") {
		t.Error("the key was not verified")
	}
	o.waits(t, "policy.example", "Server certificate not ")
}
