-- Mail for the probe's account is taken at one sub-address only, which nobody
-- guesses: a mailbox that everybody knows of would fill up with what others
-- send there. It is made of the digest that up keeps of the probe's password
-- (System.ProbeRecipient). NULL: any sub-address, as for people.
--
-- A join, where a subquery would read better: with one of those MariaDB would
-- copy all accounts for every lookup.

-- +goose NO TRANSACTION
-- +goose Up

CREATE OR REPLACE SQL SECURITY DEFINER VIEW postfix_account AS
  SELECT address, domain, generation, quota_bytes, enabled, system_account,
    CONCAT(localpart, '+', LEFT(system_setting.value, 32), '@', domain) AS recipient
  FROM account LEFT JOIN system_setting ON system_account AND system_setting.name = 'probe';
