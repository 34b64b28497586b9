package imapcopy

import "slices"

// pairing is how the messages of a folder and of its copy belong together.
type pairing struct {
	missing []mail    // of the original, without a copy
	same    [][2]mail // original and copy
	extra   []mail    // of the copy, without an original
}

// pair matches the messages of two folders. Messages with the same key may be
// several: of those the ones of equal size belong together first, then any.
func pair(original, copies []mail) pairing {
	var p pairing
	have := map[key][]mail{}
	for _, m := range copies {
		have[m.key] = append(have[m.key], m)
	}
	take := func(m mail, at int) {
		list := have[m.key]
		p.same = append(p.same, [2]mail{m, list[at]})
		have[m.key] = slices.Delete(list, at, at+1)
	}
	var rest []mail
	for _, m := range original {
		at := slices.IndexFunc(have[m.key], func(c mail) bool { return c.size == m.size })
		if at < 0 {
			rest = append(rest, m)
			continue
		}
		take(m, at)
	}
	for _, m := range rest {
		if len(have[m.key]) == 0 {
			p.missing = append(p.missing, m)
			continue
		}
		take(m, 0)
	}
	for _, list := range have {
		p.extra = append(p.extra, list...)
	}
	slices.SortFunc(p.extra, func(a, b mail) int { return int(int64(a.uid) - int64(b.uid)) })
	return p
}
