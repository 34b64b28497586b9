package accounts

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ProbeLocal is the local part of the probe's account, in the domain that is
// the host's name.
const ProbeLocal = "mailstack-probe"

// System is what the stack itself has in the tables, whatever people add.
type System struct {
	Hostname      string // the mail host's name, A-labels
	Postmaster    string // gets postmaster@, abuse@, root@ of every domain; empty: these do not exist
	ProbePassword Secret // random, of 100 bits at least: its plain digest is kept
}

// ProbeAddress is the address of the probe's account.
func (s System) ProbeAddress() string { return ProbeLocal + "@" + s.Hostname }

// ProbeRecipient is the one form of that address at which mail for the account
// is taken, so that nobody else's ever is: a sub-address of 128 bits that
// nobody guesses. It holds the beginning of the password's digest, as the view
// account_mailbox does. Empty where the password is not known.
func (s System) ProbeRecipient() string {
	if s.ProbePassword.IsZero() {
		return ""
	}
	return ProbeLocal + "+" + s.digest()[:32] + "@" + s.Hostname
}

// digest of the probe's password, in hexadecimal: the password is random, so
// nobody finds it from that.
func (s System) digest() string {
	sum := sha256.Sum256([]byte(s.ProbePassword.Reveal()))
	return hex.EncodeToString(sum[:])
}

// settings is what up last made of the configuration.
type settings struct {
	hostname, postmaster, probe string
}

func readSettings(ctx context.Context, db querier) (s settings, err error) {
	err = db.QueryRowContext(ctx, `SELECT
		COALESCE(MAX(IF(name = 'hostname', value, NULL)), ''),
		COALESCE(MAX(IF(name = 'postmaster', value, NULL)), ''),
		COALESCE(MAX(IF(name = 'probe', value, NULL)), '') FROM system_setting`).
		Scan(&s.hostname, &s.postmaster, &s.probe)
	return s, err
}

// settings checks the input. A digest of the probe's password tells whether
// it changed without the 25 ms that verifying its hash takes.
func (s System) settings() (settings, error) {
	set := settings{probe: s.digest()}
	var errHost, errPostmaster, errProbe error
	if set.hostname, errHost = ParseDomain(s.Hostname); errHost != nil {
		errHost = fmt.Errorf("hostname: %w", errHost)
	}
	if s.Postmaster != "" {
		address, err := ParseAddress(s.Postmaster)
		if err != nil {
			errPostmaster = fmt.Errorf("postmaster: %w", err)
		}
		set.postmaster = address.String()
	}
	if err := CheckPassword(s.ProbePassword); err != nil {
		errProbe = fmt.Errorf("probe: %w", err)
	}
	return set, errors.Join(errHost, errPostmaster, errProbe)
}

// SystemCurrent says whether EnsureSystem would change nothing. It takes a
// few reads.
func (db *DB) SystemCurrent(ctx context.Context, s System) (bool, error) {
	want, err := s.settings()
	if err != nil {
		return false, err
	}
	current, err := systemCurrent(ctx, db.sql, s, want)
	return current, db.explain("read the stack's own accounts", err)
}

func systemCurrent(ctx context.Context, db querier, s System, want settings) (bool, error) {
	have, err := readSettings(ctx, db)
	if err != nil || have != want {
		return false, err
	}
	var probes, others int
	var hash string
	err = db.QueryRowContext(ctx, `SELECT COALESCE(SUM(address = ? AND enabled AND quota_bytes = 0), 0), COUNT(*), COALESCE(MAX(password), '')
		FROM account WHERE system_account = 1`, ProbeLocal+"@"+want.hostname).Scan(&probes, &others, &hash)
	if err != nil || probes != 1 || others != 1 || !verifyRandom(s.ProbePassword, NewSecret(hash)) {
		return false, err
	}
	missing, extra, err := systemAliases(ctx, db, want, "")
	return len(missing) == 0 && len(extra) == 0, err
}

// EnsureSystem makes the stack's own rows as they should be: the host's name
// as a hidden domain, the probe's account in it, and postmaster, abuse and
// root of every domain. It changes nothing when nothing is different. After a
// change of the probe's password or the host's name, FinishPending ends what
// was made with the old ones.
//
// changed says in words what was done.
func (db *DB) EnsureSystem(ctx context.Context, s System) (changed []string, err error) {
	want, err := s.settings()
	if err != nil {
		return nil, err
	}
	if current, err := systemCurrent(ctx, db.sql, s, want); err != nil || current {
		return nil, db.explain("read the stack's own accounts", err)
	}
	err = db.write(ctx, "set up the stack's own accounts", func(tx *sql.Tx) error {
		changed = nil
		have, err := readSettings(ctx, tx)
		if err != nil {
			return err
		}
		if err := removeOldProbes(ctx, tx, ProbeLocal+"@"+want.hostname); err != nil {
			return err
		}
		if have.hostname != want.hostname {
			if err := moveHostname(ctx, tx, have.hostname, want.hostname); err != nil {
				return err
			}
			changed = append(changed, "host name "+want.hostname)
		}
		if have.postmaster != want.postmaster {
			changed = append(changed, "postmaster "+want.postmaster)
		}
		if err := writeSettings(ctx, tx, want); err != nil {
			return err
		}
		probe, err := ensureProbe(ctx, tx, have, want, s.ProbePassword)
		changed = append(changed, probe...)
		if err != nil {
			return err
		}
		aliases, err := reconcileAliases(ctx, tx, "")
		if err != nil {
			return err
		}
		if aliases > 0 {
			changed = append(changed, fmt.Sprintf("%d aliases of %s", aliases, strings.Join(systemLocals, ", ")))
		}
		if want.postmaster == "" {
			return nil
		}
		return checkLoop(ctx, tx, Address{Local: systemLocals[0], Domain: want.hostname})
	})
	if err != nil {
		return nil, err
	}
	return changed, nil
}

func writeSettings(ctx context.Context, tx *sql.Tx, s settings) error {
	_, err := tx.ExecContext(ctx, `REPLACE INTO system_setting (name, value) VALUES ('hostname', ?), ('postmaster', ?), ('probe', ?)`,
		s.hostname, s.postmaster, s.probe)
	return err
}

// moveHostname makes hostname a domain and forgets the old one, unless people
// have addresses there or made it a domain of their own.
func moveHostname(ctx context.Context, tx *sql.Tx, old, hostname string) error {
	if _, err := tx.ExecContext(ctx, `INSERT IGNORE INTO domain (name, system_domain, created) VALUES (?, 1, UTC_TIMESTAMP())`, hostname); err != nil {
		return err
	}
	if old == "" {
		return nil
	}
	system, err := domainKind(ctx, tx, old)
	if err != nil || !system {
		return err
	}
	if err := domainEmpty(ctx, tx, old); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM alias WHERE domain = ?`, old); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `DELETE FROM domain WHERE name = ?`, old)
	return err
}

// removeOldProbes removes the stack's own accounts but one.
func removeOldProbes(ctx context.Context, tx *sql.Tx, probe string) error {
	old, err := queryStrings(ctx, tx, `SELECT address FROM account WHERE system_account = 1 AND address <> ?`, probe)
	for _, address := range old {
		_, errDelete := tx.ExecContext(ctx, `DELETE FROM account WHERE address = ?`, address)
		err = errors.Join(err, errDelete, markPending(ctx, tx, address))
	}
	return err
}

func ensureProbe(ctx context.Context, tx *sql.Tx, have, want settings, password Secret) (changed []string, err error) {
	address := Address{Local: ProbeLocal, Domain: want.hostname}
	hash := hashRandom(password)
	var asMade, system bool
	var stored string
	err = tx.QueryRowContext(ctx, `SELECT enabled AND quota_bytes = 0, password, system_account FROM account WHERE address = ?`,
		address.String()).Scan(&asMade, &stored, &system)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return []string{"probe account " + address.String()}, insertAccount(ctx, tx, address, NewAccount{Hash: hash}, true)
	case err != nil:
		return nil, err
	case !system:
		return nil, refuse(ErrExists, "remove it: mailstack account remove "+address.String(),
			"the account %s is in the place of the probe's own", address)
	case have.probe == want.probe && asMade && verifyRandom(password, NewSecret(stored)):
		return nil, nil
	}
	_, err = tx.ExecContext(ctx, `UPDATE account SET password = ?, generation = generation + 1, enabled = 1, quota_bytes = 0,
		changed = UTC_TIMESTAMP() WHERE address = ?`, hash.Reveal(), address.String())
	return []string{"probe password"}, errors.Join(err, markPending(ctx, tx, address.String()))
}

// systemLocals are the mailboxes that every mail domain must have
// (RFC 5321 section 4.5.1, RFC 2142), and the one that programs write to.
var systemLocals = []string{"postmaster", "abuse", "root"}

// aliasRow is a row of the table.
type aliasRow struct{ address, target, domain string }

// systemAliases compares the stack's own aliases in a domain (empty: in all)
// with what they should be: each of systemLocals goes to the postmaster,
// except where the address is an account's, an explicit alias's, or the
// postmaster's own.
func systemAliases(ctx context.Context, db querier, s settings, domain string) (missing, extra []aliasRow, err error) {
	// One domain is looked up by its key; all of them are one pass.
	inDomain, inAlias, only := "", "", []any(nil)
	if domain != "" {
		inDomain, inAlias, only = " AND d.name = ?", " AND l.domain = ?", []any{domain}
	}
	missing, err = queryRows(ctx, db, `
		SELECT CONCAT(r.local, '@', d.name), ?, d.name
		FROM domain d CROSS JOIN (SELECT ? AS local UNION ALL SELECT ? UNION ALL SELECT ?) r
		WHERE ? <> '' AND CONCAT(r.local, '@', d.name) <> ?
		  AND NOT EXISTS (SELECT 1 FROM account a WHERE a.address = CONCAT(r.local, '@', d.name))
		  AND NOT EXISTS (SELECT 1 FROM alias l WHERE l.address = CONCAT(r.local, '@', d.name)
		                    AND (NOT l.system_alias OR l.target = ?))`+inDomain,
		append([]any{
			s.postmaster, systemLocals[0], systemLocals[1], systemLocals[2],
			s.postmaster, s.postmaster, s.postmaster,
		}, only...)...)
	if err != nil {
		return nil, nil, err
	}
	// Joins, where NOT EXISTS would read better: MariaDB makes that a scan of
	// every account (seconds with 100,000 of them).
	extra, err = queryRows(ctx, db, `
		SELECT DISTINCT l.address, l.target, l.domain FROM alias l
		LEFT JOIN account a ON a.address = l.address
		LEFT JOIN alias x ON x.address = l.address AND x.system_alias = 0
		WHERE l.system_alias = 1
		  AND (l.target <> ? OR l.address = ?
		       OR SUBSTRING_INDEX(l.address, '@', 1) NOT IN (?, ?, ?)
		       OR a.address IS NOT NULL OR x.address IS NOT NULL)`+inAlias,
		append([]any{s.postmaster, s.postmaster, systemLocals[0], systemLocals[1], systemLocals[2]}, only...)...)
	return missing, extra, err
}

func queryRows(ctx context.Context, db querier, query string, args ...any) ([]aliasRow, error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var list []aliasRow
	for rows.Next() {
		var row aliasRow
		if err := rows.Scan(&row.address, &row.target, &row.domain); err != nil {
			return nil, err
		}
		list = append(list, row)
	}
	return list, rows.Err()
}

// reconcileAliases makes the stack's own aliases in a domain (empty: in all)
// what they should be, and counts the addresses it touched.
func reconcileAliases(ctx context.Context, tx *sql.Tx, domain string) (touched int, err error) {
	set, err := readSettings(ctx, tx)
	if err != nil {
		return 0, err
	}
	missing, extra, err := systemAliases(ctx, tx, set, domain)
	if err != nil {
		return 0, err
	}
	var addresses []string
	for _, row := range extra {
		if _, err := tx.ExecContext(ctx, `DELETE FROM alias WHERE address = ? AND target = ? AND system_alias`, row.address, row.target); err != nil {
			return 0, err
		}
		addresses = append(addresses, row.address)
	}
	for _, row := range missing {
		if _, err := tx.ExecContext(ctx, `INSERT INTO alias (address, target, domain, system_alias) VALUES (?, ?, ?, 1)`,
			row.address, row.target, row.domain); err != nil {
			return 0, err
		}
		addresses = append(addresses, row.address)
	}
	slices.Sort(addresses)
	return len(slices.Compact(addresses)), nil
}
