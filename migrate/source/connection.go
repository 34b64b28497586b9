package source

import (
	"strings"

	"mailstack/migrate"
)

// fileConnection reads how to connect from Dovecot 2.3's dovecot-sql.conf.ext
// (connect = host=… dbname=… user=… password=…) or Postfix's mysql_table(5)
// (hosts = …, user = …, …). found is false for other files.
func fileConnection(file, text string) (c Connection, found bool) {
	keys := map[string]string{}
	lines := 0
	var whole string
	for line := range strings.Lines(text) {
		if lines++; lines > maxLines {
			break
		}
		// A backslash at the end goes on (Dovecot), as does a line that begins with a
		// blank (Postfix).
		blank := line[0] == ' ' || line[0] == '\t'
		line = strings.TrimRight(line, "\r\n")
		if strings.HasSuffix(whole, `\`) || blank && whole != "" && !strings.Contains(line, "=") {
			whole = strings.TrimSuffix(whole, `\`) + " " + strings.TrimSpace(line)
		} else {
			whole = strings.TrimSpace(line)
		}
		if key, value, ok := strings.Cut(whole, "="); ok && !strings.HasPrefix(whole, "#") {
			keys[strings.TrimSpace(key)] = strings.TrimSpace(strings.TrimSuffix(value, `\`))
		}
	}
	c = Connection{From: clean(file), Driver: "mysql"}
	if connect := keys["connect"]; connect != "" {
		if driver := keys["driver"]; driver != "" {
			c.Driver = clean(driver)
		}
		c.connectString(unquote(connect))
		c.Scheme = clean(keys["default_pass_scheme"])
		c.Query = keys["user_query"]
		return c, true
	}
	if keys["dbname"] == "" {
		return c, false
	}
	c.User, c.Database = keys["user"], keys["dbname"]
	c.Password = migrate.Secret(keys["password"])
	// The first of several hosts: unix:/path, inet:host:port, host:port, host.
	hosts := strings.FieldsFunc(keys["hosts"], func(r rune) bool { return r == ' ' || r == ',' })
	if len(hosts) > 0 {
		c.setHost(hosts[0])
	}
	return c, true
}

// connectString reads the words of connect (driver-mysql.c,
// driver_mysql_parse_connect_string: they are separated by blanks, there are no
// quotes).
func (c *Connection) connectString(text string) {
	for word := range strings.FieldsSeq(text) {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "host", "hostaddr":
			if c.Host == "" && c.Socket == "" {
				c.setHost(value)
			}
		case "port":
			c.Port = value
		case "user":
			c.User = value
		case "password":
			c.Password = migrate.Secret(value)
		case "dbname":
			c.Database = value
		}
	}
}

func (c *Connection) setHost(host string) {
	host = strings.TrimPrefix(host, "inet:")
	if socket, found := strings.CutPrefix(host, "unix:"); found {
		host = socket
	}
	if strings.HasPrefix(host, "/") {
		c.Socket = host
		return
	}
	if name, port, found := strings.Cut(host, ":"); found && !strings.Contains(port, ":") {
		host, c.Port = name, port
	}
	c.Host = host
}

// blockConnections reads Dovecot 2.4's blocks: mysql HOST-OR-SOCKET { … }.
func blockConnections(text string) (list []Connection) {
	top, _ := parseSettings(text)
	for _, driver := range []string{"mysql", "pgsql", "sqlite"} {
		for _, block := range top.of(driver) {
			get := func(key string) string { return first(block.get(key), block.get(driver+"_"+key)) }
			c := Connection{
				From: clean("doveconf: " + driver + " " + block.name), Driver: driver,
				User: get("user"), Database: get("dbname"), Password: migrate.Secret(get("password")), Port: get("port"),
			}
			c.setHost(first(get("host"), block.name))
			if len(list) < 20 {
				list = append(list, c)
			}
		}
	}
	return list
}
