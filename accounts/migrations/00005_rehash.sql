-- What Dovecot may change: the hash of an account that came from another mail
-- host with a weak one, at the first login that shows its password, and only
-- where the hash is still the one that was verified.

-- +goose NO TRANSACTION
-- +goose Up

CREATE OR REPLACE PROCEDURE rehash (IN of_address VARCHAR(254), IN old_hash VARCHAR(255), IN new_hash VARCHAR(255))
  MODIFIES SQL DATA SQL SECURITY DEFINER
  UPDATE account SET password = new_hash
    WHERE address = of_address AND password = old_hash AND new_hash LIKE '{SHA512-CRYPT}$6$%'
      AND password REGEXP '^[{](MD5-CRYPT|DES-CRYPT|MD5|PLAIN-MD5|LDAP-MD5|SMD5)([.][A-Z0-9]+)?[}]';
