package stack

import (
	"errors"
	"maps"
	"net/netip"
	"strings"
	"testing"
)

// scenarios are the plans that testdata/plan holds.
var scenarios = map[string]func(t *testing.T) *pair{
	"first-start":   firstStart,
	"nothing-to-do": func(t *testing.T) *pair { return settledPair(t, nil) },
	"container-missing": func(t *testing.T) *pair {
		p := settledPair(t, nil)
		p.remove("dovecot")
		return p
	},
	"database-exited": func(t *testing.T) *pair {
		p := settledPair(t, nil)
		c := p.on("mysql")
		c.State, c.HealthStatus, c.ExitCode, c.OOMKilled = "exited", "", 137, true
		return p
	},
	"start-failed": func(t *testing.T) *pair {
		p := settledPair(t, nil)
		c := p.on("postfix")
		c.State, c.HealthStatus, c.Error = "created", "", "driver failed programming external connectivity:\nport is already allocated\x1b[31m"
		return p
	},
	"paused-and-crash-loop": func(t *testing.T) *pair {
		p := settledPair(t, nil)
		p.on("dovecot").State = "paused"
		p.on("postfix").State = "restarting"
		return p
	},
	"dead": func(t *testing.T) *pair {
		p := settledPair(t, nil)
		p.on("postfix").State = "dead"
		return p
	},
	"message-size-changed": func(t *testing.T) *pair {
		p := settledPair(t, func(set *Settings, _ *Identity) { set.MessageBytes = 10 << 20 })
		p.o.Stale["postfix"] = `config/main.cf: "message_size_limit = 52428800" becomes "message_size_limit = 10485760"`
		return p
	},
	"port-changed": func(t *testing.T) *pair {
		return settledPair(t, func(set *Settings, _ *Identity) {
			set.Ports = maps.Clone(set.Ports)
			set.Ports["imaps"] = 1993
		})
	},
	"memory-changed": func(t *testing.T) *pair {
		return settledPair(t, func(set *Settings, _ *Identity) { set.Memory = map[string]int64{"mysql": 1 << 30} })
	},
	// In both ways: those of the host are no part of what a container was made with.
	"name-servers-chosen": func(t *testing.T) *pair {
		return settledPair(t, func(set *Settings, _ *Identity) {
			set.Resolvers = []netip.Addr{netip.MustParseAddr("192.0.2.53"), netip.MustParseAddr("2001:db8::53")}
		})
	},
	"name-servers-no-longer": func(t *testing.T) *pair {
		p := settledPair(t, nil)
		c := p.on("postfix")
		c.Labels[LabelSpec] = "with others"
		c.Labels[LabelParts] = strings.Replace(c.Labels[LabelParts], `{`, `{"name servers":"192.0.2.53",`, 1)
		return p
	},
	"made-by-another-version": func(t *testing.T) *pair {
		p := settledPair(t, nil)
		c := p.on("postfix")
		c.Labels[LabelSpec], c.Labels[LabelParts] = "other", ""
		return p
	},
	"image-missing": func(t *testing.T) *pair {
		p := settledPair(t, nil)
		delete(p.o.Images, p.d.Image("dovecot").Ref)
		p.o.Base = false
		return p
	},
	"image-rebuilt": func(t *testing.T) *pair {
		p := settledPair(t, nil)
		p.o.Images[p.d.Image("postfix").Ref] = Image{ID: "sha256:new"}
		return p
	},
	"network-missing": func(t *testing.T) *pair {
		p := settledPair(t, nil)
		p.o.Networks = p.o.Networks[:1]
		p.on("postfix").State = "exited"
		return p
	},
	"network-of-another-kind": func(t *testing.T) *pair {
		p := settledPair(t, nil)
		for i := range p.o.Networks { // as all were before one was closed
			p.o.Networks[i].Outbound = true
		}
		return p
	},
	"unhealthy": func(t *testing.T) *pair {
		p := settledPair(t, nil)
		c := p.on("dovecot")
		c.HealthStatus, c.HealthOutput = "unhealthy", "imap: no banner in 5 s\n"
		return p
	},
	"socket-gone": func(t *testing.T) *pair {
		p := settledPair(t, nil)
		p.o.Gone = map[string]string{"mysql": "mysqld.sock"}
		p.o.TasksDue["database"] = "the database does not answer yet"
		return p
	},
	"secret-gone": func(t *testing.T) *pair {
		p := settledPair(t, func(_ *Settings, id *Identity) {
			id.Secrets = maps.Clone(id.Secrets)
			id.Secrets["postfix"], id.New = newSecret(1763834400, strings.Repeat("B", secretLength)), []string{"postfix"}
		})
		p.o.Stale["postfix"] = "secret/accounts.cf changes"
		p.o.TasksDue["database"] = "the services' database users are not as they must be"
		return p
	},
	"certificate-due": func(t *testing.T) *pair {
		p := settledPair(t, nil)
		p.o.TasksDue["certificate"] = "29 days left of 90"
		return p
	},
	"certificate-due-and-unhealthy": func(t *testing.T) *pair {
		p := settledPair(t, nil)
		p.o.TasksDue["certificate"] = "29 days left of 90"
		p.on("postfix").HealthStatus = "unhealthy"
		return p
	},
	"reload-interrupted": func(t *testing.T) *pair {
		p := settledPair(t, nil)
		p.o.ReloadDue["dovecot"] = true
		return p
	},
	"files-changed-by-hand": func(t *testing.T) *pair {
		p := settledPair(t, nil)
		p.o.Stale["dovecot"] = "config/dovecot.conf is missing"
		return p
	},
	"leftovers": func(t *testing.T) *pair {
		p := settledPair(t, nil)
		labels := map[string]string{LabelStack: "demo", LabelID: testID}
		p.o.Containers = append(p.o.Containers, Container{Name: "demo-mysql-init", Labels: labels, State: "exited"}, Container{Name: "demo-filter", Labels: labels, State: "running"})
		p.o.Networks = append(p.o.Networks, Network{Name: "demo-filter", Labels: labels})
		p.remove("postfix")
		return p
	},
	"init-interrupted": func(t *testing.T) *pair {
		p := settledPair(t, func(_ *Settings, id *Identity) { id.Initialised = false })
		p.o.Containers = []Container{{Name: "demo-mysql-init", State: "running", Labels: map[string]string{LabelStack: "demo", LabelID: testID, LabelService: "mysql"}}}
		p.o.Volumes["mysql"] = VolumeState{Name: "mysql", Path: "/var/lib/mailstack/mysql", Empty: true}
		p.o.Volumes["vmail"] = VolumeState{Name: "vmail", Path: "/var/lib/mailstack/vmail", Content: true, Renamed: true}
		return p
	},
	"interrupted-before-ready": func(t *testing.T) *pair {
		p := settledPair(t, nil)
		p.on("mysql").HealthStatus = "starting"
		p.remove("dovecot")
		p.remove("postfix")
		p.o.TasksDue["database"] = "the database does not answer yet"
		return p
	},
	"just-started": func(t *testing.T) *pair {
		// The engine's own checks come late: that is no reason to do anything.
		p := settledPair(t, nil)
		for i := range p.o.Containers {
			p.o.Containers[i].HealthStatus = "starting"
		}
		return p
	},
	"init-volume": func(t *testing.T) *pair {
		p := settledPair(t, nil)
		p.o.Volumes["mysql"] = VolumeState{Name: "mysql", Path: "/var/lib/mailstack/mysql", Empty: true}
		p.opts.InitVolumes = []string{"mysql"}
		return p
	},
	"init-volume-of-sockets": func(t *testing.T) *pair {
		p := settledPair(t, nil)
		p.o.Volumes["socket/dovecot"] = VolumeState{Name: "socket/dovecot", Path: "/var/lib/mailstack/socket/dovecot", Empty: true}
		p.opts.InitVolumes = []string{"socket/dovecot"}
		return p
	},
	"refuse-foreign": func(t *testing.T) *pair {
		p := settledPair(t, nil)
		p.remove("mysql")
		p.o.Foreign = []Container{{Name: "demo-mysql"}}
		p.o.Networks = p.o.Networks[:1]
		p.o.Taken = []Network{{Name: "demo-postfix"}}
		return p
	},
	"refuse-other-stack": func(t *testing.T) *pair {
		p := settledPair(t, nil)
		for i := range p.o.Containers {
			p.o.Containers[i].Labels[LabelID] = otherID
		}
		return p
	},
	"refuse-other-stacks-network": func(t *testing.T) *pair {
		p := settledPair(t, nil)
		p.o.Networks[1].Labels = map[string]string{LabelStack: "demo", LabelID: otherID}
		return p
	},
	"refuse-container-without-id": func(t *testing.T) *pair {
		p := settledPair(t, nil)
		delete(p.on("mysql").Labels, LabelID)
		return p
	},
	"refuse-volumes": func(t *testing.T) *pair {
		p := settledPair(t, nil)
		change := func(name string, change func(*VolumeState)) {
			v := p.o.Volumes[name]
			change(&v)
			p.o.Volumes[name] = v
		}
		change("mysql", func(v *VolumeState) { v.Mark, v.Content, v.Empty = nil, false, true })
		change("vmail", func(v *VolumeState) { v.Mark = nil })
		change("queue", func(v *VolumeState) { v.Mark.StackID = otherID })
		change("socket/mysql", func(v *VolumeState) { v.Mark, v.Content, v.Strange = nil, false, []string{"a", "b"} })
		change("socket/dovecot", func(v *VolumeState) { v.Content = false })
		change("socket/postfix", func(v *VolumeState) { v.Problem = errors.New("input/output error") })
		return p
	},
	"refuse-swapped-paths": func(t *testing.T) *pair {
		p := settledPair(t, nil)
		p.o.Volumes["mysql"].Mark.Volume, p.o.Volumes["vmail"].Mark.Volume = "vmail", "mysql"
		return p
	},
	"refuse-init-volume": func(t *testing.T) *pair {
		p := settledPair(t, nil)
		p.opts.InitVolumes = []string{"vmail", "mail"}
		return p
	},
	"refuse-first-start-on-data": func(t *testing.T) *pair {
		p := firstStart(t)
		p.o.Volumes["vmail"] = VolumeState{Name: "vmail", Path: "/var/lib/mailstack/vmail", Content: true}
		p.o.Volumes["queue"] = VolumeState{
			Name: "queue", Path: "/var/lib/mailstack/queue", Content: true,
			Mark: &Mark{StackID: otherID, Volume: "queue", Format: 1},
		}
		return p
	},
}
