package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
)

// restartOrders are the order in which services start and its reverse, each begun at
// every one of them: of three services all orders, of five ten, and whichever two one
// takes, one goes before the other in half of them.
func restartOrders(services []string) (orders [][]string) {
	back := slices.Clone(services)
	slices.Reverse(back)
	there, reverse := begunAtEach(services), begunAtEach(back)
	for i := range services {
		orders = append(orders, there[i], reverse[i])
	}
	return orders
}

// circles are all ways to set services in a circle. Each is as many orders as it has
// services, by where it is begun: of five there are 24, and 120 orders.
func circles(services []string) (found [][]string) {
	if len(services) < 2 {
		return [][]string{services}
	}
	last := len(services) - 1
	for _, rest := range circles(services[:last]) {
		for i := range rest {
			found = append(found, slices.Insert(slices.Clone(rest), i+1, services[last]))
		}
	}
	return found
}

// begunAtEach are the orders of a circle.
func begunAtEach(circle []string) (orders [][]string) {
	for i := range circle {
		orders = append(orders, slices.Concat(circle[i:], circle[:i]))
	}
	return orders
}

// initials stand for an order. No two services begin alike.
func initials(order []string) (all string) {
	for _, service := range order {
		all += service[:1]
	}
	return all
}

// everyOrder are the starts in every order, which -orders runs: they take too long to be
// among the others.
func everyOrder() (found []fault) {
	for _, circle := range circles(services) {
		found = append(found, fault{
			name:    "orders-" + initials(circle),
			about:   "docker stop of all, docker start of " + strings.Join(circle, ", ") + ", begun at each of them; then docker restart of one after the other",
			touches: all, doubles: true, brief: true,
			start: func(ctx context.Context, s *scene) (endFunc, error) {
				for _, order := range begunAtEach(circle) {
					if err := s.startInOrder(ctx, order); err != nil {
						return none, err
					}
					if err := s.works(ctx, "as-"+initials(order)); err != nil {
						return none, err
					}
				}
				return restarted(begunAtEach(circle)[s.rng.IntN(len(circle))])(ctx, s)
			},
		})
	}
	return found
}

// startedInAnyOrder is one of all orders, which the seed chooses.
func startedInAnyOrder(ctx context.Context, s *scene) (endFunc, error) {
	order := slices.Clone(services)
	s.rng.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	s.findings.note("order " + initials(order))
	return none, s.startInOrder(ctx, order)
}

// startInOrder stops all services and starts them again in an order: each comes up
// without those that are later.
func (a *arena) startInOrder(ctx context.Context, order []string) error {
	errs := make([]error, len(order))
	var wg sync.WaitGroup
	for i, service := range order {
		wg.Go(func() { _, errs[i] = a.Docker(ctx, a.quickly("stop", service)...) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	_, err := a.Docker(ctx, append([]string{"start"}, a.containers(order...)...)...)
	return err
}

// quickly is a command that stops a service. The filter would use up any time that it
// gets (stack/catalog.go): 1 second instead of 5 saves 8 minutes in 120 orders.
func (a *arena) quickly(command, service string) []string {
	if service == "filter" {
		return []string{command, "--time", "1", a.Container(service)}
	}
	return []string{command, a.Container(service)}
}

// restarted restarts one after the other: each goes away under those that run.
func restarted(order []string) func(context.Context, *scene) (endFunc, error) {
	return func(ctx context.Context, s *scene) (endFunc, error) {
		for _, service := range order {
			if _, err := s.Docker(ctx, "restart", s.Container(service)); err != nil {
				return none, err
			}
		}
		return none, nil
	}
}
