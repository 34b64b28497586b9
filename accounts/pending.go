package accounts

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
)

// Sessions ends what running services still hold of an account: remembered
// logins first, then open sessions.
type Sessions interface {
	// End returns nil only when nothing made with an older state of any of
	// the addresses (account addresses, lower-case) goes on. It may be called
	// again for the same addresses.
	End(ctx context.Context, addresses []string) error
}

// pendingBatch bounds the argument list of one End.
const pendingBatch = 200

// markPending writes down, in the transaction of the change itself, that the
// account's sessions are to be ended. Whatever happens after the commit, it is
// not forgotten.
func markPending(ctx context.Context, tx *sql.Tx, address string) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO pending_end (address, token, since) VALUES (?, ?, UTC_TIMESTAMP())
		ON DUPLICATE KEY UPDATE token = VALUES(token)`, address, rand.Text())
	return err
}

// Pending lists the accounts whose sessions are still to be ended.
func (db *DB) Pending(ctx context.Context) ([]string, error) {
	list, err := queryStrings(ctx, db.sql, `SELECT address FROM pending_end ORDER BY since, address`)
	return list, db.explain("read unfinished changes", err)
}

// FinishPending ends the sessions of every account that changed since they
// were last ended, and returns how many accounts that were. Every command
// that changes an account calls it afterwards, and maintenance too. An error
// of End comes back as it is; what was not done stays written down.
//
// An account that changes again meanwhile stays written down as well: its row
// has a new token.
func (db *DB) FinishPending(ctx context.Context, sessions Sessions) (done int, err error) {
	type row struct{ address, token string }
	var after string
	for {
		rows, err := db.sql.QueryContext(ctx,
			`SELECT address, token FROM pending_end WHERE address > ? ORDER BY address LIMIT ?`, after, pendingBatch)
		if err != nil {
			return done, db.explain("read unfinished changes", err)
		}
		var batch []row
		var addresses []string
		for rows.Next() {
			var r row
			if err := rows.Scan(&r.address, &r.token); err != nil {
				return done, errors.Join(db.explain("read unfinished changes", err), rows.Close())
			}
			batch = append(batch, r)
			addresses = append(addresses, r.address)
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			return done, db.explain("read unfinished changes", err)
		}
		if len(batch) == 0 {
			return done, nil
		}
		after = addresses[len(addresses)-1]
		if err := sessions.End(ctx, addresses); err != nil {
			return done, err
		}
		for _, r := range batch {
			if _, err := db.sql.ExecContext(ctx, `DELETE FROM pending_end WHERE address = ? AND token = ?`, r.address, r.token); err != nil {
				return done, db.explain("record ended sessions", err)
			}
		}
		done += len(batch)
	}
}
