package accounts

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"
)

// latestVersion is the schema version this program was written for: the
// number of the last file in migrations/ (a test compares them).
const latestVersion = 6

//go:embed migrations/*.sql
var migrationFiles embed.FS

// Version says which schema version the database has (0: none yet) and which
// one this program needs.
func (db *DB) Version(ctx context.Context) (current, latest int, err error) {
	current, err = schemaVersion(ctx, db.sql)
	return current, latestVersion, db.explain("read schema version", err)
}

// Migrate brings the schema up to date and, as its last step, makes the
// services' database users: until everything they read exists, they cannot
// log in, and a lookup that cannot be done defers mail where an empty table
// would bounce it. It can be repeated at any time, also after an
// interruption; it is how a changed secret reaches the database.
//
// applied names what was done; it is empty when nothing was to do.
func (db *DB) Migrate(ctx context.Context, services Services) (applied []string, err error) {
	current, latest, err := db.Version(ctx)
	if err != nil {
		return nil, err
	}
	if current > latest {
		return nil, &SchemaError{Current: current, Latest: latest}
	}
	if current < latest {
		if applied, err = db.applyMigrations(ctx); err != nil {
			return applied, db.explain("migrate database", err)
		}
	}
	users, err := db.ensureUsers(ctx, services)
	return append(applied, users...), db.explain("set up database users", err)
}

func (db *DB) applyMigrations(ctx context.Context) (applied []string, err error) {
	files, err := fs.Sub(migrationFiles, "migrations")
	if err != nil {
		return nil, err
	}
	provider, err := goose.NewProvider(goose.DialectCustom, db.sql, files,
		goose.WithStore(versionStore{}), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return nil, err
	}
	results, err := provider.Up(ctx)
	var partial *goose.PartialError
	if errors.As(err, &partial) {
		results = partial.Applied
	}
	for _, result := range results {
		applied = append(applied, "schema "+path.Base(result.Source.Path))
	}
	return applied, err
}

// schemaVersion reads the version without creating anything.
func schemaVersion(ctx context.Context, db interface {
	QueryRowContext(context.Context, string, ...any) *sql.Row
},
) (int, error) {
	var version sql.NullInt64
	err := db.QueryRowContext(ctx, `SELECT MAX(version) FROM schema_version`).Scan(&version)
	var server *mysql.MySQLError
	if errors.As(err, &server) && server.Number == codeNoSuchTable {
		return 0, nil
	}
	return int(version.Int64), err
}

// versionStore keeps goose's record. goose's own takes a version table without
// its first row, which is what a kill between the two statements leaves, for
// an error for ever; here making the table and the row are each repeatable.
type versionStore struct{}

var _ database.StoreExtender = versionStore{}

func (versionStore) Tablename() string { return "schema_version" }

func (versionStore) CreateVersionTable(ctx context.Context, db database.DBTxConn) error {
	_, err := db.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS schema_version (
		version BIGINT   NOT NULL PRIMARY KEY,
		applied DATETIME NOT NULL COMMENT 'UTC'
	) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin`)
	return err
}

// TableExists is asked before CreateVersionTable, and false also repeats the
// insertion of version 0.
func (s versionStore) TableExists(ctx context.Context, db database.DBTxConn) (bool, error) {
	var rows int
	err := db.QueryRowContext(ctx, `SELECT COUNT(*) FROM information_schema.tables
		WHERE table_schema = DATABASE() AND table_name = 'schema_version'`).Scan(&rows)
	if err != nil || rows == 0 {
		return false, err
	}
	err = db.QueryRowContext(ctx, `SELECT COUNT(*) FROM schema_version WHERE version = 0`).Scan(&rows)
	return rows > 0, err
}

func (versionStore) Insert(ctx context.Context, db database.DBTxConn, req database.InsertRequest) error {
	_, err := db.ExecContext(ctx, `INSERT IGNORE INTO schema_version (version, applied) VALUES (?, UTC_TIMESTAMP())`, req.Version)
	return err
}

func (versionStore) Delete(ctx context.Context, db database.DBTxConn, version int64) error {
	_, err := db.ExecContext(ctx, `DELETE FROM schema_version WHERE version = ?`, version)
	return err
}

func (versionStore) GetMigration(ctx context.Context, db database.DBTxConn, version int64) (*database.GetMigrationResult, error) {
	var applied time.Time
	err := db.QueryRowContext(ctx, `SELECT applied FROM schema_version WHERE version = ?`, version).Scan(&applied)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("version %d: %w", version, database.ErrVersionNotFound)
	}
	return &database.GetMigrationResult{Timestamp: applied, IsApplied: true}, err
}

func (versionStore) GetLatestVersion(ctx context.Context, db database.DBTxConn) (int64, error) {
	var version sql.NullInt64
	err := db.QueryRowContext(ctx, `SELECT MAX(version) FROM schema_version`).Scan(&version)
	if err == nil && !version.Valid {
		err = database.ErrVersionNotFound
	}
	return version.Int64, err
}

func (versionStore) ListMigrations(ctx context.Context, db database.DBTxConn) ([]*database.ListMigrationsResult, error) {
	rows, err := db.QueryContext(ctx, `SELECT version FROM schema_version ORDER BY version DESC`)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var list []*database.ListMigrationsResult
	for rows.Next() {
		result := &database.ListMigrationsResult{IsApplied: true}
		if err := rows.Scan(&result.Version); err != nil {
			return nil, err
		}
		list = append(list, result)
	}
	return list, rows.Err()
}
