package main

import (
	"bytes"
	"context"
	"net/netip"
	"regexp"
	"strings"
	"time"

	"mailstack/probe"
	"mailstack/stack"
)

// peerOf finds the client in Postfix's report of a refusal.
var peerOf = regexp.MustCompile(`RCPT from \S*\[([0-9A-Fa-f.:]+)\]`)

// recentLines of a log are looked at, and all that come after. The engine reads a
// log from its beginning to find a moment, but from its end to find lines, and the
// whole of a busy server's takes it a quarter of a second. What has not been found
// that way soon is looked for by the moment.
const (
	recentLines = 1000
	soon        = time.Second
)

// logged finds the client whose recipient had a token in its address. It returns
// when that has been logged; an invalid Peer means that it may have been among
// older lines.
func (f *facts) logged(ctx context.Context, since time.Time, token string) (probe.PeerView, error) {
	e, err := f.engine()
	if err != nil {
		return probe.PeerView{}, err
	}
	// The engine counts in its own way: a second more does no harm.
	spec := stack.LogSpec{Follow: true, Since: since.Add(-time.Second)}
	follow, stop := context.WithCancel(ctx)
	if time.Since(since) < soon {
		spec.Tail = recentLines
		limit := time.AfterFunc(soon, stop)
		defer limit.Stop()
	}
	defer stop()
	seen := &peerFinder{token: token, found: stop}
	if err := e.Logs(follow, f.container("postfix"), spec, seen, seen); err != nil && !seen.peer.IsValid() {
		return probe.PeerView{}, err
	}
	if !seen.peer.IsValid() {
		return probe.PeerView{}, nil
	}
	c, err := e.Container(ctx, f.container("postfix"))
	if err != nil {
		return probe.PeerView{}, err
	}
	view := probe.PeerView{Peer: seen.peer}
	for _, n := range c.Networks {
		view.Gateway = view.Gateway || n.Gateway.Unmap() == seen.peer
	}
	return view, nil
}

// longestLine bounds what is kept of a line without an end, in bytes; Postfix writes
// none of the kind.
const longestLine = 64 << 10

// peerFinder reads a log until a line has the token.
type peerFinder struct {
	token string
	found func()
	peer  netip.Addr

	rest []byte // of a line that has not ended yet
}

func (p *peerFinder) Write(data []byte) (int, error) {
	p.rest = append(p.rest, data...)
	end := bytes.LastIndexByte(p.rest, '\n') + 1
	if peer := peerIn(string(p.rest[:end]), p.token); peer.IsValid() && !p.peer.IsValid() {
		p.peer = peer
		p.found()
	}
	p.rest = append(p.rest[:0], p.rest[end:]...)
	if len(p.rest) > longestLine {
		p.rest = p.rest[:0]
	}
	return len(data), nil
}

func peerIn(log, token string) netip.Addr {
	for line := range strings.Lines(log) {
		if !strings.Contains(line, token) {
			continue
		}
		if m := peerOf.FindStringSubmatch(line); m != nil {
			peer, _ := netip.ParseAddr(m[1])
			return peer.Unmap()
		}
	}
	return netip.Addr{}
}
