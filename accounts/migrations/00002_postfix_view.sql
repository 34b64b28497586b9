-- What Postfix may know of accounts. A grant on columns of the table itself does
-- not hold: HANDLER account READ returns all columns to who may read one, the
-- password among them. HANDLER refuses views.

-- +goose NO TRANSACTION
-- +goose Up

CREATE OR REPLACE SQL SECURITY DEFINER VIEW postfix_account AS
  SELECT address, domain, generation, quota_bytes, enabled, system_account FROM account;
