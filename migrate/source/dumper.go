package source

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"strings"

	"mailstack/migrate/remote"
)

//go:embed script/dump.sh
var dumpScript string

// Where docker-compose and mailstack say what a container is.
const (
	composeService   = "com.docker.compose.service"
	mailstackService = "mailstack.service"
	mailstackStack   = "mailstack.stack"
)

// remoteDumper reads a database by the old server's own programs.
type remoteDumper struct {
	host *remote.Host
	way
}

// way is one of several into a database.
type way struct {
	name string
	// command makes it of a request.
	command func(ctx context.Context, host *remote.Host, r Request) *remote.Command
}

// FindDumper finds a way into the database of the old server: that of a
// container that is known, root's by the socket, the one of Debian's
// maintenance scripts, or those of Dovecot and Postfix. Each is tried. If
// there is none, the error says why for each.
func FindDumper(ctx context.Context, host *remote.Host, facts *Facts) (Dumper, error) {
	ways, err := waysInto(facts)
	if err != nil {
		return nil, err
	}
	var failures []string
	for _, w := range ways {
		d := &remoteDumper{host, w}
		_, err := columnsOf(ctx, d, nil)
		if err == nil {
			return d, nil
		}
		var exit *remote.ExitError
		if !errors.As(err, &exit) {
			return nil, fmt.Errorf("read the old server's database (%s): %w", w.name, err)
		}
		failures = append(failures, w.name+": "+exit.Said)
	}
	return nil, &problem{
		"read the old server's database: " + strings.Join(failures, "; "),
		"the database server has to run, and root or Dovecot has to get in; of one that is stopped, name the data directory (--mysql-datadir)",
	}
}

// Dump is for package source.
func (d *remoteDumper) Dump(ctx context.Context, r Request) (io.ReadCloser, error) {
	return d.command(ctx, d.host, r).Stream()
}

// waysInto lists what is to be tried. In a container that is known there is
// one.
func waysInto(f *Facts) ([]way, error) {
	if c := f.container(composeService, "mysql-mailcow"); c != nil {
		// The root password is in the container's environment; it stays there.
		return []way{containerWay(f.Engine, c.Name, `export MYSQL_PWD="$MYSQL_ROOT_PASSWORD"
exec $(command -v mariadb-dump || command -v mysqldump) --user=root "$@"`)}, nil
	}
	if name := f.Mailstack(); name != "" {
		for _, c := range f.Containers {
			if c.Labels[mailstackService] == "mysql" && clean(c.Labels[mailstackStack]) == name {
				return []way{mailstackWay(f.Engine, c.Name)}, nil
			}
		}
		return nil, &problem{
			"no container of stack " + name + " on the old server runs its database", "start it there: mailstack up",
		}
	}
	ways := []way{hostWay("as root by the socket", Connection{}, "")}
	if f.exists("/etc/mysql/debian.cnf") {
		ways = append(ways, hostWay("by /etc/mysql/debian.cnf", Connection{}, "/etc/mysql/debian.cnf"))
	}
	var others []string
	tried := map[Connection]bool{}
	for _, c := range f.SQL {
		// Postfix has one file for each of its maps.
		login := Connection{Host: c.Host, Port: c.Port, Socket: c.Socket, User: c.User, Password: c.Password, Database: c.Database}
		if tried[login] {
			continue
		}
		tried[login] = true
		if c.Driver != "mysql" {
			others = append(others, c.Driver+" ("+c.From+")")
			continue
		}
		ways = append(ways, hostWay("as "+clean(c.User)+" of "+c.From, c, ""))
	}
	if len(ways) == 1 && len(others) > 0 && !f.runs("mariadbd", "mysqld") {
		return nil, &problem{
			"the old server keeps its accounts in " + enumerate(others) + ", which cannot be read",
			byIMAP,
		}
	}
	return ways, nil
}

// hostWay runs the dump program of the host itself. The password goes there by
// standard input and into the environment, never into an argument.
func hostWay(name string, c Connection, file string) way {
	return way{name, func(ctx context.Context, host *remote.Host, r Request) *remote.Command {
		address := c.Host
		if c.Socket != "" || address == "localhost" {
			address = "" // the socket
		}
		port := c.Port
		if address == "" {
			port = ""
		}
		args := append([]string{c.User, address, port, c.Socket, string(c.Password), file}, r.DumpArgs()...)
		return host.Script(ctx, dumpScript, args...)
	}}
}

// containerWay runs a script in a container; its arguments are the dump
// program's.
func containerWay(engine, container, script string) way {
	return way{"in container " + container, func(ctx context.Context, host *remote.Host, r Request) *remote.Command {
		return host.Command(ctx, engine, append([]string{"exec", container, "sh", "-c", script, "sh"}, r.DumpArgs()...)...)
	}}
}

// mailstackWay reads the database of another mailstack, whose container has no
// dump program and has the password in a file.
func mailstackWay(engine, container string) way {
	const script = `MYSQL_PWD=$(cat /run/mailstack/secret/admin)
export MYSQL_PWD
exec mariadb --no-defaults --skip-ssl --user=admin --socket=/socket/mysql/mysqld.sock "$@"`
	return way{"in container " + container, func(ctx context.Context, host *remote.Host, r Request) *remote.Command {
		command := host.Command(ctx, engine, append([]string{"exec", "-i", container, "sh", "-c", script, "sh"}, ClientArgs()...)...)
		command.Stdin = strings.NewReader(r.Statements())
		return command
	}}
}
