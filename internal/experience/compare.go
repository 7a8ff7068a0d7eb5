package experience

// compare gives every part of every episode an advantage over the same part of the other episodes of its group: the whole
// over wholes, or attempt a over those attempts a that the group made. score turns a part's returns, one an episode that
// has the part, into advantages. A part that no other episode has gets the advantage 0; compare returns how many there are.
func compare(tracks []track, score func(returns []float64) []float64) (alone int) {
	type part struct{ track, part int }
	type key struct {
		group group
		part  int
	}
	members, order := map[key][]part{}, []key{}
	returns := make([][]float64, len(tracks))
	for i, t := range tracks {
		returns[i] = t.returns()
		for p := range t.ends {
			k := key{t.group, p}
			if members[k] == nil {
				order = append(order, k)
			}
			members[k] = append(members[k], part{i, p})
		}
	}
	for _, k := range order {
		list := members[k]
		if len(list) < 2 {
			alone++
			continue
		}
		values := make([]float64, len(list))
		for i, m := range list {
			values[i] = returns[m.track][m.part]
		}
		for i, advantage := range score(values) {
			tracks[list[i].track].spread(list[i].part, advantage)
		}
	}
	return alone
}
