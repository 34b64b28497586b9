package main

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"mailstack/config"
	"mailstack/probe"
)

// limitJudges look at the limits in a configuration.
var limitJudges = []config.Judge{
	{Key: "probe.warning", Check: judgeLimit},
	{Key: "probe.critical", Check: judgeLimit},
}

func judgeLimit(text string) error {
	_, err := probe.ParseLimit(text)
	var name *probe.NameError
	switch {
	case errors.As(err, &name):
		return fmt.Errorf("%q: %w: allowed is one that `mailstack probe --list` shows, or a family of them", text, err)
	case err != nil:
		return fmt.Errorf("%q: %w: allowed is RANGE or CHECK=RANGE, like \"5\" or \"disk=20:\"", text, err)
	}
	return nil
}

// parseLimits reads RANGE or CHECK=RANGE, and reports everything that is wrong.
func parseLimits(texts []string) (all []probe.Limit, err error) {
	var errs []error
	for _, text := range texts {
		l, err := probe.ParseLimit(text)
		if err != nil {
			errs = append(errs, err)
		}
		all = append(all, l)
	}
	return all, errors.Join(errs...)
}

// withStanding adds the limits of a file, which hold where the options have none.
func withStanding(o probe.Options, warning, critical []string) probe.Options {
	standing := func(texts []string, given []probe.Limit) []probe.Limit {
		all, _ := parseLimits(texts) // they were looked at when the file was read
		for i := range all {
			all[i].Standing = true
		}
		return append(all, given...)
	}
	o.Warning = standing(warning, o.Warning)
	o.Critical = standing(critical, o.Critical)
	return o
}

// secondsFlag is a flag that takes a duration ("1m30s") or, as monitoring
// plugins do, a bare number of seconds.
type secondsFlag time.Duration

// Set implements pflag.Value.
func (f *secondsFlag) Set(text string) error {
	if n, err := strconv.ParseFloat(text, 64); err == nil && math.Abs(n) < 1e9 {
		*f = secondsFlag(n * float64(time.Second))
		return nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return errors.New("neither seconds (10) nor a duration (1m30s)")
	}
	*f = secondsFlag(d)
	return nil
}

// String implements pflag.Value.
func (f *secondsFlag) String() string { return time.Duration(*f).String() }

// Type implements pflag.Value.
func (f *secondsFlag) Type() string { return "duration" }
