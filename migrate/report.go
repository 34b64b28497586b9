package migrate

import (
	"time"
)

// Report is the result of a pass. As JSON it is
//
//	{
//	  "from": "root@old.example.org",     where mail came from
//	  "final": true,                      the last pass
//	  "ok": true,                         everything holds
//	  "error": "…",                       what kept the pass from its end, if anything
//	  "warnings": ["…"],                  what went wrong on the way
//	  "began": "…", "ended": "…",         RFC 3339, UTC
//	  "phases": [{"phase": "scan", "seconds": 1.5}, …],
//	  "total": {"messages": 1, "bytes": 1},    what the old server has
//	  "copied": {"messages": 1, "bytes": 1},   what this pass copied
//	  "renamed": 1, "removed": 1,         files: other flags; gone on the old server
//	  "mailboxes": [Result, …]            one for each account, in the order given
//	}
//
// where a Result has "address" and, if there are any, "problem" (why it was not
// copied), "differences", "changing", "notes", "login" and "folders".
type Report struct {
	From      string    `json:"from"`
	Final     bool      `json:"final"`
	Error     string    `json:"error,omitempty"`
	Warnings  []string  `json:"warnings,omitempty"`
	Began     time.Time `json:"began"`
	Ended     time.Time `json:"ended"`
	Phases    []Took    `json:"phases"`
	Total     Amount    `json:"total"`
	Copied    Amount    `json:"copied"`
	Renamed   int       `json:"renamed"`
	Removed   int       `json:"removed"`
	Mailboxes []Result  `json:"mailboxes"`
}

// OK says whether everything holds.
func (r *Report) OK() bool {
	for _, m := range r.Mailboxes {
		if !m.OK() {
			return false
		}
	}
	return r.Error == ""
}
