package certs

import "strings"

// Problem is one thing that is wrong with one file.
type Problem struct {
	File   string `json:"file"`
	Text   string `json:"text"`   // "is empty": File and Text make a sentence
	Advice string `json:"advice"` // what to do
}

// Error is the sentence without the advice.
func (p Problem) Error() string { return p.File + " " + p.Text }

// Hint says what to do.
func (p Problem) Hint() string { return p.Advice }

// Problems is everything wrong that was found at once. As an error it is one
// line for each.
type Problems []Problem

func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i := range p {
		lines[i] = p[i].Error()
	}
	return strings.Join(lines, "\n")
}

// Hint is the advice of all problems, each once.
func (p Problems) Hint() string {
	var lines []string
	seen := map[string]bool{}
	for _, problem := range p {
		if problem.Advice != "" && !seen[problem.Advice] {
			seen[problem.Advice] = true
			lines = append(lines, problem.Advice)
		}
	}
	return strings.Join(lines, "\n")
}

// Err is p as an error, nil when there is no problem.
func (p Problems) Err() error {
	if len(p) == 0 {
		return nil
	}
	return p
}
