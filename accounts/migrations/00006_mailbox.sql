-- What Postfix may know of accounts becomes a table, in place of the view
-- postfix_account: MariaDB parses a view again for every query, and gives nothing
-- out of its query cache (my.cnf) to a user who may not read what is below the
-- view. Triggers keep the table, in the transaction that changes the account. The
-- probe's recipient hangs on system_setting as well, which EnsureSystem writes
-- before the account.
--
-- limited: whether Dovecot has to be asked at RCPT if the mailbox takes mail now,
-- as it may be full or is being moved. For the probe's account too, since the
-- probe shows that asking works.

-- +goose NO TRANSACTION
-- +goose Up

CREATE TABLE IF NOT EXISTS mailbox (
  address        VARCHAR(254) NOT NULL PRIMARY KEY,
  generation     INT UNSIGNED NOT NULL,
  enabled        BOOLEAN      NOT NULL,
  system_account BOOLEAN      NOT NULL,
  recipient      VARCHAR(352) COMMENT 'the only address that takes mail; NULL: with any +anything',
  limited        BOOLEAN      NOT NULL
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
  COMMENT 'what Postfix may know of each account; kept by triggers';

CREATE OR REPLACE SQL SECURITY DEFINER VIEW account_mailbox AS
  SELECT address, generation, enabled, system_account,
    CONCAT(localpart, '+', LEFT(system_setting.value, 32), '@', domain) AS recipient,
    quota_bytes > 0 OR moving <> '' OR system_account AS limited
  FROM account LEFT JOIN system_setting ON system_account AND system_setting.name = 'probe';

CREATE OR REPLACE TRIGGER account_inserted AFTER INSERT ON account FOR EACH ROW
  REPLACE INTO mailbox SELECT * FROM account_mailbox WHERE address = NEW.address;

CREATE OR REPLACE TRIGGER account_updated AFTER UPDATE ON account FOR EACH ROW
  REPLACE INTO mailbox SELECT * FROM account_mailbox WHERE address = NEW.address;

CREATE OR REPLACE TRIGGER account_deleted AFTER DELETE ON account FOR EACH ROW
  DELETE FROM mailbox WHERE address = OLD.address;

REPLACE INTO mailbox SELECT * FROM account_mailbox;

DROP VIEW IF EXISTS postfix_account;
