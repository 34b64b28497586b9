-- Every statement can be run again: MariaDB commits each CREATE TABLE by
-- itself, so a migration that was cut short starts over.

-- +goose NO TRANSACTION
-- +goose Up

CREATE TABLE IF NOT EXISTS system_setting (
  name  VARCHAR(64)  NOT NULL PRIMARY KEY,
  value VARCHAR(255) NOT NULL
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
  COMMENT 'what up last made of mailstack.toml; the row write_lock orders the writers';

CREATE TABLE IF NOT EXISTS domain (
  name          VARCHAR(253) NOT NULL PRIMARY KEY COMMENT 'A-labels',
  system_domain BOOLEAN      NOT NULL DEFAULT 0 COMMENT 'the bare host name: nobody''s, hidden',
  created       DATETIME     NOT NULL COMMENT 'UTC',
  CONSTRAINT domain_lower CHECK (name = LOWER(name) AND name <> '')
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS account (
  address        VARCHAR(254)    NOT NULL PRIMARY KEY,
  localpart      VARCHAR(64)     NOT NULL,
  domain         VARCHAR(253)    NOT NULL,
  password       VARCHAR(255)    NOT NULL COMMENT '{SCHEME}hash',
  generation     INT UNSIGNED    NOT NULL DEFAULT 1 COMMENT '+1 at every new password, disable, enable; starts at random',
  quota_bytes    BIGINT UNSIGNED NOT NULL DEFAULT 0 COMMENT '0: none',
  enabled        BOOLEAN         NOT NULL DEFAULT 1,
  system_account BOOLEAN         NOT NULL DEFAULT 0 COMMENT 'the probe''s',
  created        DATETIME        NOT NULL COMMENT 'UTC',
  changed        DATETIME        NOT NULL COMMENT 'UTC',
  UNIQUE KEY account_by_domain (domain, localpart),
  KEY account_by_system (system_account),
  CONSTRAINT account_domain FOREIGN KEY (domain) REFERENCES domain (name),
  CONSTRAINT account_address CHECK (address = CONCAT(localpart, '@', domain) AND address = LOWER(address)),
  CONSTRAINT account_password CHECK (password LIKE '{%}_%')
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS alias (
  address      VARCHAR(254) NOT NULL COMMENT '@domain: what is nobody''s',
  target       VARCHAR(254) NOT NULL,
  domain       VARCHAR(253) NOT NULL COMMENT 'of address',
  system_alias BOOLEAN      NOT NULL DEFAULT 0 COMMENT 'postmaster@, abuse@, root@ of each domain',
  PRIMARY KEY (address, target),
  KEY alias_by_target (target),
  KEY alias_by_domain (domain),
  KEY alias_by_system (system_alias, domain),
  CONSTRAINT alias_domain FOREIGN KEY (domain) REFERENCES domain (name),
  CONSTRAINT alias_address CHECK (SUBSTRING_INDEX(address, '@', -1) = domain AND address = LOWER(address)),
  CONSTRAINT alias_target CHECK (target LIKE '_%@_%' AND target = LOWER(target))
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS pending_end (
  address VARCHAR(254) NOT NULL PRIMARY KEY,
  token   CHAR(26)     NOT NULL COMMENT 'new at every change: done only if still the same',
  since   DATETIME     NOT NULL COMMENT 'UTC'
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
  COMMENT 'logins still to be flushed and sessions still to be ended';

INSERT IGNORE INTO system_setting (name, value) VALUES ('write_lock', '');
