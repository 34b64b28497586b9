package lab

import (
	"mailstack/config"
	"mailstack/stack"
)

// Services names the services of a stack that is configured so, in the order in which
// they start.
func Services(cfg config.Config) []string {
	return ServicesWith(cfg, func(stack.Service) bool { return true })
}

// ServicesWith names those of them that have a property.
func ServicesWith(cfg config.Config, has func(stack.Service) bool) (names []string) {
	g, err := stack.NewGraph(stack.Without(stack.Catalog(), cfg.Off()...))
	if err != nil {
		panic(err) // the catalogue is at fault, as its own tests say
	}
	for _, name := range g.Order {
		if s, _ := g.Service(name); has(s) {
			names = append(names, name)
		}
	}
	return names
}
