package stack

import (
	"fmt"
	"strings"
)

// Mermaid draws the graph of sockets for Mermaid (https://mermaid.js.org): an
// arrow goes from who connects to who listens, dashed where the user copes
// without it.
func (g *Graph) Mermaid() string {
	var b strings.Builder
	b.WriteString("flowchart LR\n")
	for _, s := range g.Services {
		fmt.Fprintf(&b, "    %s[\"%s<br/>%s\"]\n", s.Name, s.Name, portList(s))
	}
	for _, e := range g.Edges() {
		arrow := "-->"
		if e.Need == ToWork {
			arrow = "-.->"
		}
		fmt.Fprintf(&b, "    %s %s|%s| %s\n", e.Consumer, arrow, e.Socket, e.Provider)
	}
	return b.String()
}

// DOT draws the graph of sockets for Graphviz.
func (g *Graph) DOT() string {
	var b strings.Builder
	b.WriteString("digraph mailstack {\n    rankdir=LR;\n    node [shape=box];\n")
	for _, s := range g.Services {
		fmt.Fprintf(&b, "    %q [label=\"%s\\n%s\"];\n", s.Name, s.Name, portList(s))
	}
	for _, e := range g.Edges() {
		style := "solid"
		if e.Need == ToWork {
			style = "dashed"
		}
		fmt.Fprintf(&b, "    %q -> %q [label=%q, style=%s];\n", e.Consumer, e.Provider, e.Socket, style)
	}
	b.WriteString("}\n")
	return b.String()
}

func portList(s Service) string {
	switch {
	case !s.Bridge:
		return "no network"
	case len(s.Listeners) == 0:
		return "no port"
	}
	var ports []string
	for _, l := range s.Listeners {
		ports = append(ports, portNumber(l.Port))
	}
	return strings.Join(ports, " ")
}
