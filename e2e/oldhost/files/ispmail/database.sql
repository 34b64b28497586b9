-- https://workaround.org/ispmail-bookworm/prepare-the-database/
CREATE DATABASE mailserver CHARACTER SET utf8mb4;
CREATE USER mailadmin@localhost IDENTIFIED BY 'isp-admin';
GRANT ALL ON mailserver.* TO mailadmin@localhost;
CREATE USER mailserver@127.0.0.1 IDENTIFIED BY 'isp-secret';
GRANT SELECT ON mailserver.* TO mailserver@127.0.0.1;
USE mailserver;

CREATE TABLE IF NOT EXISTS virtual_domains (
  id int(11) NOT NULL auto_increment,
  name varchar(50) NOT NULL,
  PRIMARY KEY (id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8;
CREATE TABLE IF NOT EXISTS virtual_users (
  id int(11) NOT NULL auto_increment,
  domain_id int(11) NOT NULL,
  email varchar(100) NOT NULL,
  password varchar(150) NOT NULL,
  quota bigint(11) NOT NULL DEFAULT 0,
  PRIMARY KEY (id),
  UNIQUE KEY email (email),
  FOREIGN KEY (domain_id) REFERENCES virtual_domains(id) ON DELETE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8;
CREATE TABLE IF NOT EXISTS virtual_aliases (
  id int(11) NOT NULL auto_increment,
  domain_id int(11) NOT NULL,
  source varchar(100) NOT NULL,
  destination varchar(100) NOT NULL,
  PRIMARY KEY (id),
  FOREIGN KEY (domain_id) REFERENCES virtual_domains(id) ON DELETE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8;
{{range .Domains}}
INSERT INTO virtual_domains (name) VALUES ({{sql .}});
{{- end}}
{{- range .Accounts}}
INSERT INTO virtual_users (domain_id, email, password, quota) SELECT id, {{sql .Address}}, {{sql .Hash}}, {{.QuotaBytes}} FROM virtual_domains WHERE name = {{sql (domain .Address)}};
{{- end}}
{{- range $alias := .Aliases}}{{range .Targets}}
INSERT INTO virtual_aliases (domain_id, source, destination) SELECT id, {{sql $alias.Address}}, {{sql .}} FROM virtual_domains WHERE name = {{sql (domain $alias.Address)}};
{{- end}}{{end}}
