package probe

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Range is a set of numbers that are an alert, in the notation of monitoring
// plugins (https://www.monitoring-plugins.org/doc/guidelines.html, "Threshold
// and ranges"): "10" alerts outside 0 to 10, "10:" below 10, "~:10" above 10,
// "10:20" outside and "@10:20" inside 10 to 20. The zero value is no range.
type Range struct {
	start, end float64
	inside     bool
	set        bool
}

// AtMost alerts above x, and below 0.
func AtMost(x float64) Range { return Range{end: x, set: true} }

// AtLeast alerts below x.
func AtLeast(x float64) Range { return Range{start: x, end: math.Inf(1), set: true} }

// ParseRange reads the notation.
func ParseRange(text string) (Range, error) {
	r := Range{end: math.Inf(1), set: true}
	rest, inside := strings.CutPrefix(text, "@")
	r.inside = inside
	start, end, both := strings.Cut(rest, ":")
	if !both {
		start, end = "0", rest
		if rest == "" {
			return Range{}, fmt.Errorf("parse range %q: it is empty", text)
		}
	}
	var err error
	switch {
	case start == "~":
		r.start = math.Inf(-1)
	case start != "":
		if r.start, err = finite(start); err != nil {
			return Range{}, fmt.Errorf("parse range %q: %w", text, err)
		}
	}
	if end != "" {
		if r.end, err = finite(end); err != nil {
			return Range{}, fmt.Errorf("parse range %q: %w", text, err)
		}
	}
	if r.start > r.end {
		return Range{}, fmt.Errorf("parse range %q: it starts after its end", text)
	}
	return r, nil
}

// finite reads a decimal number. The words that strconv takes for infinity and
// not-a-number are none.
func finite(text string) (float64, error) {
	x, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsInf(x, 0) || math.IsNaN(x) {
		return 0, fmt.Errorf("%q is no number", text)
	}
	return x, nil
}

// Alerts says whether x is an alert.
func (r Range) Alerts(x float64) bool {
	within := r.start <= x && x <= r.end
	return r.set && within == r.inside
}

// String is the notation; "" for no range.
func (r Range) String() string {
	if !r.set {
		return ""
	}
	var b strings.Builder
	if r.inside {
		b.WriteByte('@')
	}
	switch {
	case math.IsInf(r.start, -1):
		b.WriteString("~:")
	case r.start != 0 || math.IsInf(r.end, 1):
		b.WriteString(decimal(r.start) + ":")
	}
	if !math.IsInf(r.end, 1) {
		b.WriteString(decimal(r.end))
	}
	return b.String()
}

// decimal writes a number with a point and without an exponent, rounded to the
// sixth decimal.
func decimal(x float64) string {
	return strconv.FormatFloat(math.Round(x*1e6)/1e6, 'f', -1, 64)
}

// Limit is a range that somebody has set instead of what a check judges by.
type Limit struct {
	Check string // name of a check or of a family; "" means the times of all
	Range Range
	// Standing limits hold where no other limit is for the same check, whether
	// that is for it alone, its family or all.
	Standing bool
}

// ParseLimit reads RANGE or CHECK=RANGE.
func ParseLimit(text string) (Limit, error) {
	check, rest, named := strings.Cut(text, "=")
	if !named {
		check, rest = "", text
	}
	r, err := ParseRange(rest)
	if err != nil {
		return Limit{}, err
	}
	if named {
		err = CheckNames([]string{check})
	}
	return Limit{Check: check, Range: r}, err
}

// Value is something that a check has measured besides its time.
type Value struct {
	Name   string // "left"
	Label  string // what of several was measured: "vmail"; or ""
	Unit   string // "%", "s", "B", "" for a count, or "timestamp" for Unix seconds
	Amount float64
	// Warning and Critical are what it is judged by, unless somebody has set
	// limits for the check. Those go for the first value of a check and for the
	// others that have its name.
	Warning, Critical Range
	Text              string // for people: "29.8 of 90.0 days left"
	Advice            string // what to do about an alert
}

// limitFor is the limit that is meant most precisely for a check, the last of
// several. Limits without a name are for times only.
func limitFor(limits []Limit, check string, timed bool) (Range, bool) {
	for _, standing := range []bool{false, true} {
		var best Range
		length := -1
		for _, l := range limits {
			if l.Standing != standing || l.Check == "" && !timed || l.Check != "" && !matches(check, l.Check) {
				continue
			}
			if len(l.Check) >= length {
				best, length = l.Range, len(l.Check)
			}
		}
		if length >= 0 {
			return best, true
		}
	}
	return Range{}, false
}

// judge holds the values of a check, or its time if it has none, against their
// limits. It returns the values with the limits that were used, and the ranges
// for the time.
func (o Options) judge(check string, took time.Duration, values []Value) (judged []Value, time Value, _ error) {
	var errs []error
	for _, v := range values {
		if v.Name == values[0].Name {
			if r, ok := limitFor(o.Warning, check, false); ok {
				v.Warning = r
			}
			if r, ok := limitFor(o.Critical, check, false); ok {
				v.Critical = r
			}
		}
		judged = append(judged, v)
		errs = append(errs, v.judge())
	}
	time = Value{Name: "time", Unit: "s", Amount: took.Seconds(), Text: fmt.Sprintf("took %.3f s", took.Seconds())}
	if len(values) == 0 && !o.Untimed {
		time.Warning, _ = limitFor(o.Warning, check, true)
		time.Critical, _ = limitFor(o.Critical, check, true)
		errs = append(errs, time.judge())
	}
	return judged, time, errors.Join(errs...)
}

// limited says whether anybody has set a limit.
func (v Value) limited() bool { return v.Warning.set || v.Critical.set }

// judge is nil for a value within its limits.
func (v Value) judge() error {
	f := &Failure{Step: v.Label, Advice: v.Advice}
	limit := v.Critical
	switch {
	case v.Critical.Alerts(v.Amount):
		f.Kind = KindCriticalLimit
	case v.Warning.Alerts(v.Amount):
		f.Kind, limit = KindWarningLimit, v.Warning
	default:
		return nil
	}
	f.Detail = fmt.Sprintf("%s (%s%s, limit %s)", v.Text, decimal(v.Amount), v.Unit, limit)
	return f
}
