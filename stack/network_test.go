package stack

import "testing"

// TestNetworkOfAnotherKind: a stack from before Dovecot's network was closed gets
// one that is, with its container on it, and there is nothing to do then.
func TestNetworkOfAnotherKind(t *testing.T) {
	needRoot(t)
	w := newWorld(t)
	w.mustUp()
	open := w.engine.networks["demo-dovecot"]
	if open.Outbound || !w.engine.networks["demo-postfix"].Outbound {
		t.Fatalf("networks: %+v", w.engine.networks)
	}
	open.Outbound = true
	w.engine.networks["demo-dovecot"] = open
	w.mustUp()
	closed := w.engine.networks["demo-dovecot"]
	if closed.Outbound || closed.ID == open.ID || w.engine.containers["demo-dovecot"].networkID != closed.ID {
		t.Errorf("network %+v, container on %s", closed, w.engine.containers["demo-dovecot"].networkID)
	}
}
