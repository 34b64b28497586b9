-- An account that is being brought over from another mail host: its mail is
-- still arriving there, so here it takes none in yet (a temporary answer) and
-- lets nobody in but who holds the one password of the move.

-- +goose NO TRANSACTION
-- +goose Up

ALTER TABLE account ADD COLUMN IF NOT EXISTS
  moving VARCHAR(255) NOT NULL DEFAULT '' COMMENT '{SCHEME}hash of the password of the move; empty: not being moved';
