package probe

import (
	"encoding/json"
	"math"
	"time"
)

// jsonSchema is the version of the JSON form. It changes only when a reader of
// the old form could misunderstand the new one.
const jsonSchema = 1

type jsonReport struct {
	Schema int          `json:"schema"`
	Stack  string       `json:"stack"`
	Status Status       `json:"status"`
	Checks []jsonResult `json:"checks"`
}

type jsonResult struct {
	Name    string     `json:"name"`
	Status  Status     `json:"status"`
	Seconds float64    `json:"seconds"`
	Reason  string     `json:"reason"`
	Hint    string     `json:"hint"`
	Steps   []jsonStep `json:"steps"`
}

type jsonStep struct {
	Name    string  `json:"name"` // "login", or "login@127.0.0.1:993" where there are several addresses
	Seconds float64 `json:"seconds"`
}

// MarshalJSON is the form for programs. Times are in seconds, to the
// microsecond; lists are never null.
func (r Report) MarshalJSON() ([]byte, error) {
	out := jsonReport{Schema: jsonSchema, Stack: r.Stack, Status: r.Status, Checks: make([]jsonResult, len(r.Checks))}
	for i, c := range r.Checks {
		steps := make([]jsonStep, len(c.Steps))
		names := stepNames(c.Steps)
		for j, s := range c.Steps {
			steps[j] = jsonStep{Name: names[j], Seconds: jsonSeconds(s.Duration)}
		}
		out.Checks[i] = jsonResult{
			Name: c.Name, Status: c.Status, Seconds: jsonSeconds(c.Duration),
			Reason: c.Reason, Hint: c.Hint, Steps: steps,
		}
	}
	return json.Marshal(out)
}

func jsonSeconds(d time.Duration) float64 {
	return math.Round(d.Seconds()*1e6) / 1e6
}
