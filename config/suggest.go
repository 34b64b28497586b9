package config

import (
	"fmt"
	"strings"
)

// unknownKey says what somebody may have meant by a key that does not exist.
func unknownKey(key string) string {
	table, name := "", key
	if i := strings.LastIndexByte(key, '.'); i >= 0 {
		table, name = key[:i], key[i+1:]
	}
	// The right name in the wrong place comes first: in TOML, a key that is
	// written below the wrong [table] is the commonest slip.
	var elsewhere, here, near *setting
	hereDistance, nearDistance := maxDistance(name)+1, maxDistance(name)+1
	for i := range settings {
		s := &settings[i]
		switch distance := editDistance(name, s.name()); {
		case distance == 0:
			elsewhere = s
		case s.table() == table && distance < hereDistance:
			here, hereDistance = s, distance
		case distance < nearDistance:
			near, nearDistance = s, distance
		}
	}
	switch {
	case elsewhere != nil && elsewhere.table() == "":
		return fmt.Sprintf("unknown key: %s belongs above the first [table]", elsewhere.key)
	case elsewhere != nil:
		return fmt.Sprintf("unknown key: %s belongs in [%s]", elsewhere.name(), elsewhere.table())
	case here != nil:
		return "unknown key: did you mean " + here.key + "?"
	case near != nil:
		return "unknown key: did you mean " + near.key + "?"
	}
	var names []string
	for _, s := range settings {
		if s.table() == table {
			names = append(names, s.name())
		}
	}
	if len(names) == 0 {
		return "unknown key"
	}
	return "unknown key: allowed are " + strings.Join(names, ", ")
}

// unknownTable does the same for a table.
func unknownTable(table string) string {
	best, bestDistance := "", maxDistance(table)+1
	var names []string
	for _, s := range settings {
		name := s.table()
		if name == "" || len(names) > 0 && names[len(names)-1] == "["+name+"]" {
			continue
		}
		names = append(names, "["+name+"]")
		if distance := editDistance(table, name); distance < bestDistance {
			best, bestDistance = name, distance
		}
	}
	if best != "" {
		return fmt.Sprintf("unknown table: did you mean [%s]?", best)
	}
	return "unknown table: allowed are " + strings.Join(names, ", ")
}

// maxDistance is how many slips a word of that length may have.
func maxDistance(word string) int { return max(1, len(word)/3) }

// editDistance counts the letters to insert, delete, change or swap with their
// neighbour to get from a to b (optimal string alignment).
func editDistance(a, b string) int {
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
