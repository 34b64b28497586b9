package probe

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"
)

// jsonSchema is the version of the JSON form, which report.schema.json
// describes. It changes only when a reader of the old form could misunderstand
// the new one.
const jsonSchema = 1

type jsonReport struct {
	Schema int          `json:"schema"`
	Stack  string       `json:"stack"`
	Status Status       `json:"status"`
	Checks []jsonResult `json:"checks"`
}

type jsonResult struct {
	Name    string      `json:"name"`
	Status  Status      `json:"status"`
	Seconds float64     `json:"seconds"`
	Reason  string      `json:"reason"`
	Hint    string      `json:"hint"`
	Steps   []jsonStep  `json:"steps"`
	Values  []jsonValue `json:"values,omitempty"`
	Notes   []string    `json:"notes,omitempty"`
}

type jsonStep struct {
	Name    string  `json:"name"` // "login", or "login@127.0.0.1:993" where there are several addresses
	Seconds float64 `json:"seconds"`
}

type jsonValue struct {
	Name     string  `json:"name"`
	Label    string  `json:"label,omitempty"`
	Value    float64 `json:"value"`
	Unit     string  `json:"unit"`
	Warning  string  `json:"warning,omitempty"`
	Critical string  `json:"critical,omitempty"`
	Text     string  `json:"text,omitempty"`
}

// MarshalJSON is the form for programs. Times are in seconds, to the
// microsecond; lists that are always there are never null.
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
			Reason: c.Reason, Hint: c.Hint, Steps: steps, Notes: c.Notes,
		}
		for _, v := range c.Values {
			out.Checks[i].Values = append(out.Checks[i].Values, jsonValue{
				v.Name, v.Label, math.Round(v.Amount*1e6) / 1e6, v.Unit, v.Warning.String(), v.Critical.String(), v.Text,
			})
		}
	}
	return json.Marshal(out)
}

func jsonSeconds(d time.Duration) float64 {
	return math.Round(d.Seconds()*1e6) / 1e6
}

// UnmarshalJSON reads a report that was kept. What the form does not hold
// (failures as values, the dialogue) is not there, and Duration is that of the
// longest check.
func (r *Report) UnmarshalJSON(data []byte) error {
	var in jsonReport
	if err := json.Unmarshal(data, &in); err != nil {
		return fmt.Errorf("read report: %w", err)
	}
	if in.Schema != jsonSchema {
		return fmt.Errorf("read report: schema %d, this program knows %d", in.Schema, jsonSchema)
	}
	*r = Report{Stack: in.Stack, Status: in.Status}
	var errs []error
	for _, c := range in.Checks {
		result := Result{
			Name: c.Name, Status: c.Status, Duration: fromSeconds(c.Seconds), Reason: c.Reason, Hint: c.Hint, Notes: c.Notes,
			Time: Value{Name: "time", Unit: "s", Amount: c.Seconds},
		}
		if c.Reason != "" { // for the text form, which shows failures
			result.Failures = []*Failure{{kept: c.Reason, Advice: c.Hint}}
		}
		for _, s := range c.Steps {
			result.Steps = append(result.Steps, Step{Name: s.Name, Duration: fromSeconds(s.Seconds), Done: true})
		}
		for _, v := range c.Values {
			value := Value{Name: v.Name, Label: v.Label, Unit: v.Unit, Amount: v.Value, Text: v.Text}
			var err, err2 error
			value.Warning, err = keptRange(v.Warning)
			value.Critical, err2 = keptRange(v.Critical)
			errs = append(errs, err, err2)
			result.Values = append(result.Values, value)
		}
		r.Checks = append(r.Checks, result)
		r.Duration = max(r.Duration, result.Duration)
	}
	return errors.Join(errs...)
}

func fromSeconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

func keptRange(text string) (Range, error) {
	if text == "" {
		return Range{}, nil
	}
	return ParseRange(text)
}
