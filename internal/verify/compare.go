package verify

import "strings"

// Compare decides whether an extracted answer equals the gold answer.
// It never panics and its work is bounded for every input.
func Compare(gold, answer string, o Options) (v Verdict) {
	answer = strings.TrimSpace(answer)
	defer func() {
		// A mistake of this package must not end a run: the pair is reported as undecided.
		if recover() != nil {
			v = Verdict{Status: StatusBounded, Extracted: answer, HasAnswer: answer != "", Rule: "internal"}
		}
	}()
	if o.Mode == ModePaper {
		v = comparePaper(gold, answer)
		v.Extracted, v.HasAnswer = answer, answer != ""
		return v
	}
	if answer == "" {
		return Verdict{Status: StatusNoAnswer, Rule: "empty_box"}
	}
	g, p := parse(gold), parse(answer)
	v = Verdict{
		Extracted: answer, HasAnswer: true, Opaque: g.opaque() || p.opaque(), GoldType: g.typ, PredType: p.typ,
	}
	r := compareAnswers(gold, answer, g, p)
	v.Rule = r.rule
	switch r.outcome {
	case same:
		v.Correct, v.Status = true, StatusEqual
	case undecided:
		v.Status = StatusBounded
	default:
		v.Status = StatusUnequal
	}
	return v
}

// InspectGold parses a gold answer and returns the name of its type. opaque means that it could not be
// parsed: answers would be compared with it as normalised tokens only, which a data set should report.
func InspectGold(gold string) (typ string, opaque bool) {
	a := parse(gold)
	return a.typ, a.opaque()
}

// compareAnswers compares two answers, parsed or not. A comma between groups of three digits may separate
// numbers where the gold answer is a list.
func compareAnswers(gold, answer string, g, p answer) result {
	if isLimit(g.err) || isLimit(p.err) {
		if g.tokens == p.tokens && len(gold) <= maxAnswerBytes {
			return result{same, "tokens"}
		}
		return result{undecided, "answer_limit"}
	}
	if g.tokens == p.tokens {
		return decide(strings.TrimSpace(g.tokens) != "", "tokens")
	}
	if g.opaque() || p.opaque() {
		return result{different, "tokens"}
	}
	if (g.node.kind == kText || p.node.kind == kText) && plainWords(g.tokens) == plainWords(p.tokens) {
		return result{same, "text"}
	}
	c := &comparer{fuel: evalFuel}
	r := c.compare(g.node, p.node)
	if r.outcome == different && p.merged && g.node.kind == kList {
		if again := parseStyle(answer, splitStyle); !again.opaque() {
			return c.compare(g.node, again.node)
		}
	}
	if r.outcome == different && g.merged && p.node.kind == kList {
		if again := parseStyle(gold, splitStyle); !again.opaque() {
			return c.compare(again.node, p.node)
		}
	}
	return r
}

// compare decides whether a prediction equals a gold answer, led by the gold answer's type.
func (c *comparer) compare(gold, pred *node) result {
	if c.fuel--; c.fuel < 0 {
		return result{undecided, "work_limit"}
	}
	gold, pred = flatUnion(foldMatrices(gold)), flatUnion(foldMatrices(pred))
	if r, ok := c.choices(gold, pred); ok {
		return r
	}
	if pred.kind == kChoice {
		if len(pred.kids) == 0 {
			pred = sym(pred.name)
		} else {
			pred = pred.kids[0] // "(C) 12" answers 12
		}
	}
	if r, ok := c.texts(gold, pred); ok {
		return r
	}
	if gold.kind == kRel {
		return c.relations(gold, pred)
	}
	if pred.kind == kRel {
		return c.statedValue(gold, pred)
	}
	switch {
	case gold.kind == kBaseN || pred.kind == kBaseN:
		return compareBases(gold, pred)
	case amountOf(gold).value.kind == kRatio || amountOf(pred).value.kind == kRatio:
		return c.ratios(gold, pred)
	case gold.kind == kMatrix:
		return c.matrices(gold, pred)
	case isRealSet(gold) || isRealSet(pred) && (gold.kind == kSet || isInterval(gold)):
		return c.realSets(gold, pred)
	case gold.kind == kTuple && !gold.has(isPlusMinus):
		return c.tuples(gold, pred)
	case isCollection(gold):
		return c.collections(gold, pred)
	}
	pred = onlyItem(pred)
	if isCollection(pred) {
		return c.collections(gold, pred)
	}
	if !gold.isScalar() || !pred.isScalar() {
		return decide(c.identical(gold, pred), "type")
	}
	return c.amounts(gold, pred)
}

// flatUnion turns a union of finite sets into one set.
func flatUnion(n *node) *node {
	if n.kind != kSetOp || n.name != "cup" {
		return n
	}
	set := op(kSet)
	for _, part := range unionParts(n) {
		if part.kind != kSet {
			return n
		}
		set.kids = append(set.kids, part.kids...)
	}
	return set
}

// onlyItem unwraps a set of one item: {5} answers 5.
func onlyItem(n *node) *node {
	if (n.kind == kSet || n.kind == kList) && len(n.kids) == 1 {
		return n.kids[0]
	}
	return n
}

// choices compares multiple-choice letters; ok is false if the gold answer is none.
func (c *comparer) choices(gold, pred *node) (result, bool) {
	var letter string
	switch {
	case gold.kind == kChoice:
		letter = gold.name
	case gold.kind == kSym && isChoiceLetter(gold.name) && gold.name <= "E":
		letter = gold.name
	default:
		return result{}, false
	}
	switch {
	case pred.kind == kChoice:
		return decide(pred.name == letter, "choice"), true
	case (pred.kind == kSym || pred.kind == kConst) && len(pred.name) == 1:
		return decide(strings.ToUpper(pred.name) == letter, "choice"), true
	case gold.kind == kChoice && len(gold.kids) == 1:
		return c.compare(gold.kids[0], pred), true
	}
	return result{}, false
}

// texts compares words; ok is false if neither side is a text.
func (c *comparer) texts(gold, pred *node) (result, bool) {
	g, p := gold.kind == kText, pred.kind == kText
	switch {
	case g && p && gold.name == pred.name:
		return result{same, "text"}, true
	case g && p && (len(gold.kids) == 0 || len(pred.kids) == 0):
		return result{different, "text"}, true
	case !g && !p:
		return result{}, false
	}
	if g {
		if pred.kind == kSym && plainWords(pred.name) == gold.name {
			return result{same, "text"}, true
		}
		if len(gold.kids) == 0 {
			return result{different, "text"}, true
		}
		gold = gold.kids[0]
	}
	if p {
		if gold.kind == kSym && plainWords(gold.name) == pred.name {
			return result{same, "text"}, true
		}
		if len(pred.kids) == 0 {
			return result{different, "text"}, true
		}
		pred = pred.kids[0]
	}
	return c.compare(gold, pred), true
}

// compareBases compares numerals written in a base: the base belongs to the answer.
func compareBases(gold, pred *node) result {
	equal := gold.kind == kBaseN && pred.kind == kBaseN && gold.rat.Cmp(pred.rat) == 0 &&
		strings.TrimLeft(gold.name, "0") == strings.TrimLeft(pred.name, "0")
	return decide(equal, "base")
}
