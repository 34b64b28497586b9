package accounts

import (
	"context"
	"crypto/rand"
	"crypto/sha512"
	"database/sql"
	"encoding/base64"
	"errors"
)

// Move is the state of accounts that are being brought over from another mail
// host. Until EndMove mail for them is answered with 4xx, by every way and
// behind every alias, and nobody can log in but with the password of the move:
// what changed here meanwhile would be undone by the next copy.
//
// Dovecot may remember the password of a move for some minutes after its end.
// It was made for one run of the program, which told nobody.
type Move struct {
	password, hash Secret
}

// NewMove makes a password that opens every account of a move. It is random, so
// a fast hash gives nothing away.
func NewMove() Move {
	password := rand.Text() + rand.Text() // 256 bits
	digest := sha512.Sum512([]byte(password))
	return Move{
		password: NewSecret(password),
		hash:     NewSecret("{SHA512}" + base64.StdEncoding.EncodeToString(digest[:])),
	}
}

// Password is the one that works while the move lasts.
func (m Move) Password() Secret { return m.password }

// BeginMove brings an account into a move: it is made where it is not there,
// and gets the hash (see NewAccount.KeepHash), quota and state of n where an earlier
// run made it. An account that is not being moved is somebody's already, and is
// refused with ErrExists.
func (db *DB) BeginMove(ctx context.Context, m Move, n NewAccount) (made bool, err error) {
	address, err := ParseAccount(n.Address.String())
	if err != nil {
		return false, err
	}
	if err := errors.Join(checkHash(n.Hash, n.AllowWeak), checkQuota(n.QuotaBytes)); err != nil {
		return false, err
	}
	err = db.write(ctx, "bring account "+address.String()+" over", func(tx *sql.Tx) error {
		var moving bool
		err := tx.QueryRowContext(ctx, `SELECT moving <> '' FROM account WHERE address = ?`, address.String()).Scan(&moving)
		made = errors.Is(err, sql.ErrNoRows)
		switch {
		case made:
			if err := needFree(ctx, tx, address); err != nil {
				return err
			}
			if err := insertAccount(ctx, tx, address, n, false); err != nil {
				return err
			}
			if _, err := reconcileAliases(ctx, tx, address.Domain); err != nil {
				return err
			}
		case err != nil:
			return err
		case !moving:
			return refuse(ErrExists, "mailstack account show "+address.String(),
				"account %s exists already and is in use", address)
		}
		_, err = tx.ExecContext(ctx, `UPDATE account SET password = IF(?, password, ?), quota_bytes = ?, enabled = ?, moving = ?,
			generation = generation + 1, changed = UTC_TIMESTAMP() WHERE address = ?`,
			n.KeepHash, n.Hash.Reveal(), n.QuotaBytes, !n.Disabled, m.hash.Reveal(), address.String())
		return err
	})
	return made && err == nil, err
}

// EndMove opens accounts to their owners and to mail, all of them or none. There
// are no sessions to end, but those of the move itself: nobody else could log in.
func (db *DB) EndMove(ctx context.Context, addresses []Address) error {
	return db.write(ctx, "end the move", func(tx *sql.Tx) error {
		for _, address := range addresses {
			done, err := tx.ExecContext(ctx, `UPDATE account SET moving = '', generation = generation + 1,
				changed = UTC_TIMESTAMP() WHERE address = ? AND moving <> ''`, address.String())
			if err != nil {
				return err
			}
			if n, err := done.RowsAffected(); err != nil || n == 0 {
				return errors.Join(err, refuse(ErrNotFound, "mailstack account list", "account %s is not being moved", address))
			}
		}
		return nil
	})
}
