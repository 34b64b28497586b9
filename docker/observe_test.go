package docker

import (
	"encoding/json"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/container"

	"mailstack/stack"
)

// inspected is what an engine of API 1.41 says, shortened to what is read.
const inspected = `{
	"Id": "c0ffee", "Name": "/s-dovecot", "Image": "sha256:1", "RestartCount": 2,
	"State": {
		"Status": "running", "ExitCode": 0, "Error": "", "OOMKilled": true,
		"StartedAt": "2026-01-02T03:04:05.6Z",
		"Health": {"Status": "unhealthy", "Log": [
			{"ExitCode": 0, "Output": "old"}, {"ExitCode": 1, "Output": "no greeting\n"}]}
	},
	"Config": {"Image": "mailstack/dovecot:1", "Labels": {"mailstack.stack": "s"}},
	"HostConfig": {"PortBindings": {"143/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}},
	"Mounts": [
		{"Type": "volume", "Name": "v", "Source": "/x", "Destination": "/v", "RW": true},
		{"Type": "bind", "Source": "/d/vmail", "Destination": "/var/vmail", "RW": true, "Propagation": "rprivate"},
		{"Type": "bind", "Source": "/d/socket", "Destination": "/socket/mysql", "RW": false, "Propagation": "rprivate"}],
	"NetworkSettings": {
		"Ports": {"143/tcp": [{"HostIp": "127.0.0.1", "HostPort": "32768"}], "25/tcp": null, "53/udp": [{"HostIp": "", "HostPort": "53"}]},
		"Networks": {"s-dovecot": {"Gateway": "172.18.0.1", "IPAddress": "172.18.0.2", "IPv6Gateway": "", "GlobalIPv6Address": "", "MacAddress": "02:42:ac:12:00:02"}}
	}
}`

func TestContainerIsTranslated(t *testing.T) {
	var in container.InspectResponse
	if err := json.Unmarshal([]byte(inspected), &in); err != nil {
		t.Fatal(err)
	}
	want := stack.Container{
		ID: "c0ffee", Name: "s-dovecot", Image: "mailstack/dovecot:1", ImageID: "sha256:1",
		Labels: map[string]string{"mailstack.stack": "s"},
		State:  "running", OOMKilled: true, HealthStatus: "unhealthy", HealthOutput: "no greeting",
		StartedAt: time.Date(2026, 1, 2, 3, 4, 5, 600_000_000, time.UTC), RestartCount: 2,
		Mounts: []stack.Mount{
			{Source: "/d/socket", Target: "/socket/mysql", ReadOnly: true},
			{Source: "/d/vmail", Target: "/var/vmail"},
		},
		Ports: []stack.Port{{Address: netip.MustParseAddr("127.0.0.1"), Host: 32768, Container: 143}},
		Networks: map[string]stack.NetworkEnd{"s-dovecot": {
			Address: netip.MustParseAddr("172.18.0.2"), Gateway: netip.MustParseAddr("172.18.0.1"),
		}},
	}
	if diff := cmp.Diff(want, observed(in), comparePorts); diff != "" {
		t.Error(diff)
	}
}

// TestStoppedContainer: the ports of one that does not run are those it asks
// for, and what never was is zero.
func TestStoppedContainer(t *testing.T) {
	var in container.InspectResponse
	if err := json.Unmarshal([]byte(`{
		"Name": "/s-mysql",
		"State": {"Status": "created", "StartedAt": "0001-01-01T00:00:00Z", "Health": {"Status": "none"}},
		"HostConfig": {"PortBindings": {"25/tcp": [{"HostIp": "::", "HostPort": "25"}]}},
		"NetworkSettings": {"Ports": {}, "Networks": {"none": {"Gateway": "", "IPAddress": ""}}}
	}`), &in); err != nil {
		t.Fatal(err)
	}
	want := stack.Container{
		Name: "s-mysql", State: "created",
		Ports:    []stack.Port{{Address: netip.MustParseAddr("::"), Host: 25, Container: 25}},
		Networks: map[string]stack.NetworkEnd{"none": {}},
	}
	if diff := cmp.Diff(want, observed(in), comparePorts); diff != "" {
		t.Error(diff)
	}
}

func TestSecurityOptions(t *testing.T) {
	options := []string{"name=seccomp,profile=default", "name=rootless", "name=cgroupns"}
	for name, want := range map[string]bool{"rootless": true, "seccomp": true, "userns": false, "root": false} {
		if got := hasSecurityOption(options, name); got != want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
