package stack

// TaskPlan is one task with what follows from it, the reload of the running
// services that it changes, and nothing else of the way to the desired state:
// maintenance renews a certificate and replaces no container.
func TaskPlan(d *Desired, o *Observed, name, cause string) *Plan {
	p := &planner{d: d, o: o}
	for _, t := range d.Tasks {
		if t.Name != name {
			continue
		}
		task := p.add(RunTask{Task: t}, t.Name, cause)
		for _, service := range t.Before {
			c, there := o.container(ContainerName(d.Name, service))
			if t.Reload && there && c.State == "running" {
				p.add(ReloadContainer{Name: c.Name}, "container "+c.Name, "to serve the new "+t.Name, task)
			}
		}
	}
	return &p.plan
}
