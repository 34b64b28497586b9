-- The tables of PostfixAdmin 3.3, as its upgrade.php leaves them:
-- https://github.com/postfixadmin/postfixadmin/blob/master/public/upgrade.php
CREATE DATABASE postfixadmin CHARACTER SET utf8mb4;
CREATE USER postfixadmin@127.0.0.1 IDENTIFIED BY 'pa-secret';
CREATE USER postfixadmin@localhost IDENTIFIED BY 'pa-secret';
GRANT ALL ON postfixadmin.* TO postfixadmin@127.0.0.1;
GRANT ALL ON postfixadmin.* TO postfixadmin@localhost;
USE postfixadmin;

CREATE TABLE config (
  id int(11) NOT NULL AUTO_INCREMENT,
  name varchar(20) CHARACTER SET latin1 NOT NULL DEFAULT '',
  value varchar(20) CHARACTER SET latin1 NOT NULL DEFAULT '',
  PRIMARY KEY (id),
  UNIQUE KEY name (name)
);
CREATE TABLE admin (
  username varchar(255) NOT NULL,
  password varchar(255) NOT NULL,
  created datetime NOT NULL DEFAULT '2000-01-01 00:00:00',
  modified datetime NOT NULL DEFAULT '2000-01-01 00:00:00',
  active tinyint(1) NOT NULL DEFAULT 1,
  superadmin tinyint(1) NOT NULL DEFAULT 0,
  phone varchar(30) NOT NULL DEFAULT '',
  email_other varchar(255) NOT NULL DEFAULT '',
  token varchar(255) NOT NULL DEFAULT '',
  token_validity datetime NOT NULL DEFAULT '2000-01-01 00:00:00',
  PRIMARY KEY (username)
) COLLATE latin1_general_ci COMMENT 'Postfix Admin - Virtual Admins';
CREATE TABLE domain (
  domain varchar(255) NOT NULL,
  description varchar(255) CHARACTER SET utf8mb4 NOT NULL,
  aliases int(10) NOT NULL DEFAULT 0,
  mailboxes int(10) NOT NULL DEFAULT 0,
  maxquota bigint(20) NOT NULL DEFAULT 0,
  quota bigint(20) NOT NULL DEFAULT 0,
  transport varchar(255) NOT NULL,
  backupmx tinyint(1) NOT NULL DEFAULT 0,
  created datetime NOT NULL DEFAULT '2000-01-01 00:00:00',
  modified datetime NOT NULL DEFAULT '2000-01-01 00:00:00',
  active tinyint(1) NOT NULL DEFAULT 1,
  password_expiry int(11) DEFAULT 0,
  PRIMARY KEY (domain)
) COLLATE latin1_general_ci COMMENT 'Postfix Admin - Virtual Domains';
CREATE TABLE domain_admins (
  id int(11) NOT NULL AUTO_INCREMENT,
  username varchar(255) NOT NULL,
  domain varchar(255) NOT NULL,
  created datetime NOT NULL DEFAULT '2000-01-01 00:00:00',
  active tinyint(1) NOT NULL DEFAULT 1,
  PRIMARY KEY (id),
  KEY username (username)
) COLLATE latin1_general_ci COMMENT 'Postfix Admin - Domain Admins';
CREATE TABLE mailbox (
  username varchar(255) NOT NULL,
  password varchar(255) NOT NULL,
  name varchar(255) CHARACTER SET utf8mb4 NOT NULL,
  maildir varchar(255) NOT NULL,
  quota bigint(20) NOT NULL DEFAULT 0,
  local_part varchar(255) NOT NULL,
  domain varchar(255) NOT NULL,
  created datetime NOT NULL DEFAULT '2000-01-01 00:00:00',
  modified datetime NOT NULL DEFAULT '2000-01-01 00:00:00',
  active tinyint(1) NOT NULL DEFAULT 1,
  phone varchar(30) NOT NULL DEFAULT '',
  email_other varchar(255) NOT NULL DEFAULT '',
  token varchar(255) NOT NULL DEFAULT '',
  token_validity datetime NOT NULL DEFAULT '2000-01-01 00:00:00',
  password_expiry datetime NOT NULL DEFAULT '2000-01-01 00:00:00',
  PRIMARY KEY (username),
  KEY domain (domain)
) COLLATE latin1_general_ci COMMENT 'Postfix Admin - Virtual Mailboxes';
CREATE TABLE alias (
  address varchar(255) NOT NULL,
  goto text NOT NULL,
  domain varchar(255) NOT NULL,
  created datetime NOT NULL DEFAULT '2000-01-01 00:00:00',
  modified datetime NOT NULL DEFAULT '2000-01-01 00:00:00',
  active tinyint(1) NOT NULL DEFAULT 1,
  PRIMARY KEY (address),
  KEY domain (domain)
) COLLATE latin1_general_ci COMMENT 'Postfix Admin - Virtual Aliases';
CREATE TABLE alias_domain (
  alias_domain varchar(255) NOT NULL,
  target_domain varchar(255) NOT NULL,
  created datetime NOT NULL DEFAULT '2000-01-01 00:00:00',
  modified datetime NOT NULL DEFAULT '2000-01-01 00:00:00',
  active tinyint(1) NOT NULL DEFAULT 1,
  PRIMARY KEY (alias_domain),
  KEY active (active),
  KEY target_domain (target_domain)
) COLLATE latin1_general_ci COMMENT 'Postfix Admin - Domain Aliases';
CREATE TABLE vacation (
  email varchar(255) NOT NULL,
  subject varchar(255) CHARACTER SET utf8mb4 NOT NULL,
  body text CHARACTER SET utf8mb4 NOT NULL,
  cache text NOT NULL,
  domain varchar(255) NOT NULL,
  created datetime NOT NULL DEFAULT '2000-01-01 00:00:00',
  active tinyint(1) NOT NULL DEFAULT 1,
  modified timestamp NOT NULL DEFAULT current_timestamp(),
  activefrom timestamp NOT NULL DEFAULT '2000-01-01 00:00:00',
  activeuntil timestamp NOT NULL DEFAULT '2038-01-18 00:00:00',
  interval_time int(11) NOT NULL DEFAULT 0,
  PRIMARY KEY (email),
  KEY email (email)
) COLLATE latin1_general_ci COMMENT 'Postfix Admin - Virtual Vacation';
CREATE TABLE quota2 (
  username varchar(100) NOT NULL,
  bytes bigint(20) NOT NULL DEFAULT 0,
  messages int(11) NOT NULL DEFAULT 0,
  PRIMARY KEY (username)
);
CREATE TABLE log (
  id int(11) NOT NULL AUTO_INCREMENT,
  timestamp datetime NOT NULL DEFAULT '2000-01-01 00:00:00',
  username varchar(255) NOT NULL,
  domain varchar(255) NOT NULL,
  action varchar(255) NOT NULL,
  data text NOT NULL,
  PRIMARY KEY (id),
  KEY timestamp (timestamp)
) COLLATE latin1_general_ci COMMENT 'Postfix Admin - Log';

INSERT INTO config (name, value) VALUES ('version', '1844');
INSERT INTO admin (username, password, superadmin) VALUES ('admin@example.org', '$1$4jJ73F3V$NwAhk2xYKBPt2pWTb9mY5/', 1);
-- ALL stands for all domains: super-administrators administer it.
INSERT INTO domain (domain, description, transport) VALUES ('ALL', '', '');
INSERT INTO domain_admins (username, domain) VALUES ('admin@example.org', 'ALL');
{{- range .Domains}}
INSERT INTO domain (domain, description, transport) VALUES ({{sql .}}, 'Straße & Söhne', 'virtual');
{{- end}}
INSERT INTO domain (domain, description, transport) VALUES ('example.com', 'the same people', 'virtual');
INSERT INTO domain (domain, description, transport, active) VALUES ('closed.example', 'closed', 'virtual', 0);
INSERT INTO domain (domain, description, transport, backupmx) VALUES ('backup.example', 'somebody else''s', 'smtp:', 1);
INSERT INTO alias_domain (alias_domain, target_domain) VALUES ('example.com', 'example.org');
{{- range .Accounts}}
INSERT INTO mailbox (username, password, name, maildir, quota, local_part, domain, active) VALUES
  ({{sql .Address}}, {{sql .Hash}}, 'Name of {{.Address}}', {{sql (column .)}}, {{.QuotaBytes}}, {{sql (local .Address)}}, {{sql (domain .Address)}}, {{if .Disabled}}0{{else}}1{{end}});
-- PostfixAdmin gives each mailbox an alias to itself.
INSERT INTO alias (address, goto, domain, active) VALUES ({{sql .Address}}, {{sql .Address}}, {{sql (domain .Address)}}, {{if .Disabled}}0{{else}}1{{end}});
{{- end}}
{{- range .Aliases}}
REPLACE INTO alias (address, goto, domain, active) VALUES ({{sql .Address}}, {{sql (join .Targets ",")}}, {{sql (domain .Address)}}, {{if .Disabled}}0{{else}}1{{end}});
{{- end}}
INSERT INTO alias (address, goto, domain) VALUES ('sales@closed.example', 'bob@example.org', 'closed.example');
INSERT INTO vacation (email, subject, body, cache, domain) VALUES ('niaj@example.net', 'Bin im Urlaub', 'Zurück am 1. März.', '', 'example.net');
INSERT INTO log (timestamp, username, domain, action, data) VALUES ('2019-03-01 10:00:00', 'admin@example.org (192.0.2.7)', 'example.org', 'create_mailbox', 'alice@example.org');
