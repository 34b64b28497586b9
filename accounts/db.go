package accounts

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/go-sql-driver/mysql"
)

// Deadlines of one conversation with the database. It is on the same host: an
// answer that takes longer will not come.
const (
	dialTimeout  = 3 * time.Second
	replyTimeout = 10 * time.Second
)

// Names in the database server.
const (
	DefaultDatabase = "mail"
	DefaultUser     = "admin"
)

// Options says how to reach the database.
type Options struct {
	Socket   string // path of MariaDB's Unix socket
	Password Secret
	User     string // default "admin"
	Database string // default "mail"

	// ServicePrefix is put before the names of the users that Migrate makes,
	// so that a second database on a server does not take the first one's.
	ServicePrefix string

	reply time.Duration // 0 means replyTimeout
}

// DB is the stack's account database. It is safe for concurrent use.
type DB struct {
	sql     *sql.DB
	options Options
}

// Open connects as the administrator and checks that the server answers. Its
// error is a [*NotUpError] or a [*LoginError] where it is one of these.
func Open(ctx context.Context, o Options) (*DB, error) {
	if o.User == "" {
		o.User = DefaultUser
	}
	if o.Database == "" {
		o.Database = DefaultDatabase
	}
	if o.reply <= 0 {
		o.reply = replyTimeout
	}
	// The directory belongs to the server, which may have been broken into: a
	// link there must not lead this program, as root, to another socket.
	if info, err := os.Lstat(o.Socket); err == nil && info.Mode().Type() != fs.ModeSocket {
		return nil, fmt.Errorf("open database: %s is not a socket (%s)", o.Socket, info.Mode().Type())
	}
	config := mysql.NewConfig()
	config.Net, config.Addr = "unix", o.Socket
	config.User, config.Passwd = o.User, o.Password.Reveal()
	config.DBName = o.Database
	config.Timeout, config.ReadTimeout, config.WriteTimeout = dialTimeout, o.reply, o.reply
	config.Collation = "utf8mb4_bin"
	config.ParseTime, config.Loc = true, time.UTC
	config.Params = map[string]string{
		"time_zone": "'+00:00'",
		// Too long or malformed is an error, never a quiet cut.
		"sql_mode": "'TRADITIONAL,NO_AUTO_VALUE_ON_ZERO'",
		// Less than replyTimeout, so that waiting for another writer is told
		// from a server that does not answer.
		"innodb_lock_wait_timeout": "8",
	}
	config.Logger = &mysql.NopLogger{} // what it would log comes back as an error too
	connector, err := mysql.NewConnector(config)
	if err != nil {
		return nil, fmt.Errorf("configure database driver: %w", err)
	}
	db := &DB{sql: sql.OpenDB(connector), options: o}
	// One command works alone; maintenance and probe share one server.
	db.sql.SetMaxOpenConns(4)
	began := time.Now()
	if err := db.sql.PingContext(ctx); err != nil {
		_ = db.sql.Close()
		if errors.Is(err, mysql.ErrInvalidConn) && time.Since(began) >= o.reply { // the driver hides why
			err = fmt.Errorf("no answer in %s: %w: %w", o.reply, os.ErrDeadlineExceeded, err)
		}
		return nil, db.explain("open database", err)
	}
	return db, nil
}

// Close ends the connections.
func (db *DB) Close() error { return db.sql.Close() }

// NotUpError means that no database server answers on the socket.
type NotUpError struct {
	Socket string
	Err    error
}

func (e *NotUpError) Error() string {
	if errors.Is(e.Err, fs.ErrNotExist) {
		return fmt.Sprintf("the database is not running: no socket %s", e.Socket)
	}
	return fmt.Sprintf("the database does not answer on %s: %v", e.Socket, e.Err)
}

func (e *NotUpError) Unwrap() error { return e.Err }

// Hint says how to start it.
func (e *NotUpError) Hint() string {
	return "mailstack status shows what runs; mailstack up starts the stack"
}

// LoginError means that the server answers and does not accept the secret.
type LoginError struct {
	User string
	Err  error
}

func (e *LoginError) Error() string {
	return fmt.Sprintf("the database is up but refuses the secret of its user %s: %v", e.User, e.Err)
}

func (e *LoginError) Unwrap() error { return e.Err }

// Hint says where the secret is kept.
func (e *LoginError) Hint() string {
	return "secrets/ in the data directory does not belong to this database: restore both from the same backup"
}

// SchemaError means that the database is not at the version this program
// knows.
type SchemaError struct {
	Current, Latest int
}

func (e *SchemaError) Error() string {
	if e.Current > e.Latest {
		return fmt.Sprintf("the database has schema version %d, made by a newer mailstack; this one knows versions up to %d",
			e.Current, e.Latest)
	}
	return fmt.Sprintf("the database has schema version %d, this mailstack needs %d", e.Current, e.Latest)
}

// Hint says which side to bring up to date.
func (e *SchemaError) Hint() string {
	if e.Current > e.Latest {
		return "use the newer mailstack"
	}
	return "mailstack up brings the database up to date"
}

// Error numbers of the server (https://mariadb.com/docs/server/reference/error-codes).
const (
	codeAccessDenied   = 1045
	codeTooManyConns   = 1040
	codeNoSuchDatabase = 1049
	codeDatabaseDenied = 1044
	codeNoSuchColumn   = 1054
	codeNoSuchTable    = 1146
	codeLockWait       = 1205
	codeDeadlock       = 1213
	codeShuttingDown   = 1053
)

// explain turns what the driver says into this package's errors.
func (db *DB) explain(doing string, err error) error {
	var refusal *Error
	var schema *SchemaError
	var server *mysql.MySQLError
	var network net.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refusal), errors.As(err, &schema):
		return err
	case errors.As(err, &server):
		switch server.Number {
		case codeAccessDenied, codeDatabaseDenied:
			return fmt.Errorf("%s: %w", doing, &LoginError{User: db.options.User, Err: err})
		case codeLockWait:
			return fmt.Errorf("%s: another change of the accounts is under way and does not end: %w", doing, err)
		case codeShuttingDown, codeTooManyConns:
			return fmt.Errorf("%s: %w", doing, &NotUpError{Socket: db.options.Socket, Err: err})
		case codeNoSuchDatabase, codeNoSuchTable, codeNoSuchColumn:
			return fmt.Errorf("%s: %w", doing, &incompleteError{err})
		}
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, driver.ErrBadConn),
		errors.Is(err, mysql.ErrInvalidConn), errors.Is(err, io.EOF),
		errors.As(err, &network) && !errors.Is(err, context.Canceled):
		return fmt.Errorf("%s: %w", doing, &NotUpError{Socket: db.options.Socket, Err: err})
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// incompleteError: a table or the whole database is not there.
type incompleteError struct{ error }

func (e *incompleteError) Unwrap() error { return e.error }

func (e *incompleteError) Hint() string { return "mailstack up completes the database" }

// write runs change in a transaction that no other writer overlaps: all of
// them lock the same row first. Checks that span rows (no two aliases that
// lead to each other) hold that way, and the few changes a person makes do not
// feel it.
func (db *DB) write(ctx context.Context, doing string, change func(tx *sql.Tx) error) error {
	const attempts = 3
	var err error
	for range attempts {
		err = db.writeOnce(ctx, change)
		// A deadlock is rolled back whole, and how Galera reports that another
		// node was first; the next attempt sees what the other wrote.
		var server *mysql.MySQLError
		if !errors.As(err, &server) || server.Number != codeDeadlock {
			break
		}
	}
	return db.explain(doing, err)
}

func (db *DB) writeOnce(ctx context.Context, change func(tx *sql.Tx) error) error {
	// Each statement sees what is committed: with the lock that is all there is.
	tx, err := db.sql.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // does nothing after a commit
	var lock string
	if err := tx.QueryRowContext(ctx, `SELECT value FROM system_setting WHERE name = 'write_lock' FOR UPDATE`).Scan(&lock); err != nil {
		return err
	}
	current, err := schemaVersion(ctx, tx)
	if err != nil {
		return err
	}
	if current != latestVersion {
		return &SchemaError{Current: current, Latest: latestVersion}
	}
	if err := change(tx); err != nil {
		return err
	}
	return tx.Commit()
}
