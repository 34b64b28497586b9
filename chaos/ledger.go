package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// place is a mailbox of an account.
type place struct {
	Account string `json:"account"`
	Mailbox string `json:"mailbox"`
}

// letter is a message of the load.
type letter struct {
	ID    string  `json:"id"`
	Round int     `json:"round"`
	Sum   string  `json:"sum"` // SHA-256 of the body, in hexadecimal digits
	To    []place `json:"to"`  // each gets exactly one copy
}

// change is what an IMAP client did to one message in an INBOX.
type change struct {
	Round    int    `json:"round"`
	Kind     string `json:"kind"` // changeKinds
	Account  string `json:"account"`
	ID       string `json:"id"` // of the message
	Validity uint32 `json:"validity"`
	UID      uint32 `json:"uid"`
	// At is when the server's OK was there.
	At time.Time `json:"at"`
}

// Kinds of changes.
const (
	flagged = "flag"
	moved   = "move" // to Archive
	deleted = "delete"
)

// entry is a line of the ledger: one of the two.
type entry struct {
	Letter *letter `json:"letter,omitempty"`
	Change *change `json:"change,omitempty"`
}

// errLedger is about the ledger itself, which is no fault of the server.
var errLedger = errors.New("write ledger")

// ledger is a file with everything that the server has acknowledged, one JSON
// object a line. A line is on the disk before anybody counts it, so the file is
// what the server owes, whatever becomes of this process. What was tried without
// an answer is kept beside it, in memory: it may be there or not.
type ledger struct {
	mu      sync.Mutex
	file    *os.File
	tried   map[string][]place // letters by ID, acknowledged or not
	touched map[touch]bool     // changes that were tried
}

// touch identifies changes of one kind to an account's copy of a message.
type touch struct{ account, id, kind string }

func openLedger(path string) (*ledger, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	return &ledger{file: file, tried: map[string][]place{}, touched: map[touch]bool{}}, nil
}

// try notes a letter that is about to be sent.
func (l *ledger) try(m letter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tried[m.ID] = m.To
}

// tryChange notes a change that is about to be asked for.
func (l *ledger) tryChange(c change) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.touched[touch{c.Account, c.ID, c.Kind}] = true
}

// wasTried says whether a change was asked for, whatever the answer.
func (l *ledger) wasTried(account, id, kind string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.touched[touch{account, id, kind}]
}

// places are where a letter that was tried may be.
func (l *ledger) places(id string) []place {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tried[id]
}

// acknowledged writes down what the server has said yes to.
func (l *ledger) acknowledged(e entry) error {
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, err = l.file.Write(append(line, '\n'))
	if err = errors.Join(err, l.file.Sync()); err != nil {
		return fmt.Errorf("%w: %w", errLedger, err)
	}
	return nil
}

// read gives back the lines of the file.
func (l *ledger) read() (letters []letter, changes []change, err error) {
	info, err := l.file.Stat()
	if err != nil {
		return nil, nil, fmt.Errorf("read ledger: %w", err)
	}
	lines := bufio.NewReader(io.NewSectionReader(l.file, 0, info.Size()))
	for decoder := json.NewDecoder(lines); ; {
		var e entry
		switch err := decoder.Decode(&e); {
		case errors.Is(err, io.EOF):
			return letters, changes, nil
		case err != nil:
			return nil, nil, fmt.Errorf("read ledger: %w", err)
		case e.Letter != nil:
			letters = append(letters, *e.Letter)
		case e.Change != nil:
			changes = append(changes, *e.Change)
		}
	}
}

func (l *ledger) close() error { return l.file.Close() }
