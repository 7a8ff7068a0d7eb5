package verify

// asInterval compares a gold inequality about a name with a set: 1 < x < 2 may be answered by (1, 2).
func (c *comparer) asInterval(gold, pred *node) result {
	set := solutionSet(gold)
	if set == nil || !isInterval(pred) && !isRealSet(pred) {
		return result{different, "type"}
	}
	if isInterval(set) && isInterval(pred) {
		return result{c.tuples(set, pred).outcome, "inequality_as_interval"}
	}
	return result{c.realSets(set, pred).outcome, "inequality_as_interval"}
}

// membership compares x ∈ S with an inequality about x.
func (c *comparer) membership(gold, pred *node) result {
	set := solutionSet(pred)
	if set == nil || len(gold.kids) != 2 {
		return result{different, "type"}
	}
	return result{c.compare(gold.kids[1], set).outcome, "inequality_as_interval"}
}

// solutionSet turns an inequality about one name into the set of its solutions, nil if it is none.
func solutionSet(n *node) *node {
	if n.kind != kRel {
		return nil
	}
	n = forwards(n)
	infinity := constant("infty")
	bracket := func(o relation, open, closed byte) byte {
		if o == relLess {
			return open
		}
		return closed
	}
	ordered := func(o relation) bool { return o == relLess || o == relLessEq }
	switch {
	case len(n.ops) == 2 && ordered(n.ops[0]) && ordered(n.ops[1]) && nameLike(n.kids[1]):
		return &node{
			kind: kTuple, kids: []*node{n.kids[0], n.kids[2]},
			open: bracket(n.ops[0], '(', '['), close: bracket(n.ops[1], ')', ']'),
		}
	case len(n.ops) == 1 && ordered(n.ops[0]) && nameLike(n.kids[0]):
		return &node{kind: kTuple, kids: []*node{neg(infinity), n.kids[1]}, open: '(', close: bracket(n.ops[0], ')', ']')}
	case len(n.ops) == 1 && ordered(n.ops[0]) && nameLike(n.kids[1]):
		return &node{kind: kTuple, kids: []*node{n.kids[0], infinity}, open: bracket(n.ops[0], '(', '['), close: ')'}
	case len(n.ops) == 1 && n.ops[0] == relNotEq && nameLike(n.kids[0]):
		points := op(kSet, n.kids[1])
		return &node{kind: kSetOp, name: "setminus", kids: []*node{constant("bbR"), points}}
	}
	return nil
}

// solutions turns alternatives such as x < 1 or x > 3 into a union, nil if they are none.
func solutions(n *node) *node {
	if n.kind != kList || len(n.kids) < 2 {
		return nil
	}
	var union *node
	for _, k := range n.kids {
		set := solutionSet(k)
		if set == nil {
			return nil
		}
		if union == nil {
			union = set
		} else {
			union = &node{kind: kSetOp, name: "cup", kids: []*node{union, set}}
		}
	}
	return union
}
