package verify

import (
	"math"
	"regexp"
	"strconv"
	"strings"
)

// gradePaper grades a response as the paper's evaluation does, from its extraction on. The text after the
// last "boxed" counts, closed or not; without a box, an answer phrase, or else the last number.
func gradePaper(gold, response string) Verdict {
	return Compare(gold, paperExtract(tail(response, maxResponseBytes)), Options{Mode: ModePaper})
}

// comparePaper compares an extracted answer with the gold answer by the paper's rules.
func comparePaper(gold, answer string) Verdict {
	if len(gold) > maxAnswerBytes || len(answer) > maxAnswerBytes {
		return Verdict{Status: StatusBounded, Rule: "answer_limit"}
	}
	g, p := paperStrip(gold), paperStrip(answer)
	c := &paperComparer{comparer: comparer{fuel: evalFuel}}
	v := Verdict{Status: StatusUnequal, GoldType: parse(gold).typ, PredType: parse(answer).typ}
	equal := c.equal(p, g, 0)
	v.Rule = c.rule
	switch {
	case equal:
		v.Correct, v.Status = true, StatusEqual
	case c.bounded:
		v.Status = StatusBounded
	case answer == "":
		v.Status = StatusNoAnswer
	}
	return v
}

var lastNumberPattern = regexp.MustCompile(`-?\d*\.?\d+`)

// paperExtract finds the answer as the paper's evaluation does.
func paperExtract(s string) string {
	var answer string
	switch {
	case strings.Contains(s, "boxed"):
		answer = paperBox(s[strings.LastIndex(s, "boxed")+len("boxed"):])
	case strings.Contains(s, "final answer is $") && strings.Contains(s, "$. I hope"):
		_, rest, _ := strings.Cut(s, "final answer is $")
		rest, _, _ = strings.Cut(rest, "$. I hope")
		answer = strings.TrimSpace(rest)
	case strings.Contains(s, "he answer is"):
		answer = strings.TrimSpace(s[strings.LastIndex(s, "he answer is")+len("he answer is"):])
	case strings.Contains(s, "final answer is"):
		answer = strings.TrimSpace(s[strings.LastIndex(s, "final answer is")+len("final answer is"):])
	default:
		numbers := lastNumberPattern.FindAllString(strings.ReplaceAll(tail(s, maxUnboxedBytes), ",", ""), -1)
		if len(numbers) > 0 {
			answer = numbers[len(numbers)-1]
		}
	}
	var b strings.Builder
	for i, line := range strings.Split(answer, "\n") {
		if i > 0 {
			line = strings.TrimLeft(line, " \t\r\f\v")
		}
		b.WriteString(line)
	}
	answer = strings.TrimPrefix(b.String(), ":")
	return strings.TrimSuffix(strings.TrimSuffix(answer, "."), "/")
}

// paperBox reads what follows "boxed": a group, closed or not, or else the text up to a dollar sign.
func paperBox(s string) string {
	if !strings.HasPrefix(s, "{") {
		answer, _, _ := strings.Cut(s, "$")
		return strings.TrimSpace(answer)
	}
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				return s[1:i]
			}
		}
	}
	return s[1:]
}

// paperComparer applies the paper's rules in their order and remembers the one that decided.
type paperComparer struct {
	comparer
	rule    string
	bounded bool
}

func (c *paperComparer) yes(rule string) bool {
	c.rule = "paper_" + rule
	return true
}

var choiceWord = regexp.MustCompile(`\b[A-E]\b`)

// equal is math_equal of the paper's grader.
func (c *paperComparer) equal(pred, ref string, depth int) bool {
	c.rule = "paper_unequal"
	if depth > 4 {
		c.bounded = true
		return false
	}
	if strings.EqualFold(strings.TrimSpace(pred), strings.TrimSpace(ref)) {
		return c.yes("string")
	}
	if len(ref) == 1 && "A" <= ref && ref <= "E" && paperChoice(pred) == ref {
		return c.yes("choice")
	}
	p, okP := paperNumber(pred)
	r, okR := paperNumber(ref)
	if okP && okR {
		for _, want := range [...]float64{r / 100, r, r * 100} {
			if isClose(want, p) {
				return c.yes("number")
			}
		}
		return false
	}
	if pred == "" {
		return false
	}
	ref, pred = strings.TrimSpace(ref), strings.TrimSpace(pred)
	if strings.Contains(pred, "pmatrix") && !strings.Contains(ref, "pmatrix") {
		ref = paperMatrixOf(ref)
	}
	if withoutBrackets(pred, ref) {
		return c.yes("brackets")
	}
	if isPaperList(pred) && isPaperList(ref) && c.parts(pred[1:len(pred)-1], ref[1:len(ref)-1], ",", depth) {
		return c.yes("list")
	}
	if isPaperMatrix(pred) && isPaperMatrix(ref) && c.matrix(pred, ref, depth) {
		return c.yes("matrix")
	}
	if c.equation(pred, ref, depth) {
		return true
	}
	if c.symbolic(pred, ref) {
		return c.yes("symbolic")
	}
	c.rule = "paper_unequal"
	return false
}

// paperChoice returns the last letter A to E that stands alone in an answer.
func paperChoice(s string) string {
	letters := choiceWord.FindAllString(strings.ToUpper(s), -1)
	if len(letters) == 0 {
		return ""
	}
	return letters[len(letters)-1]
}

// paperNumber is Python's float() after all commas were deleted, or else a number in per cent.
func paperNumber(s string) (float64, bool) {
	s = strings.ReplaceAll(s, ",", "")
	if f, ok := pythonFloat(s); ok {
		return f, true
	}
	if t, ok := strings.CutSuffix(s, "%"); ok {
		if f, ok := pythonFloat(strings.TrimSuffix(t, `\`)); ok {
			return f / 100, true
		}
	}
	return 0, false
}

var pythonNumber = regexp.MustCompile(`^[+-]?(\d+(_\d+)*\.?(\d+(_\d+)*)?|\.\d+(_\d+)*)([eE][+-]?\d+(_\d+)*)?$`)

func pythonFloat(s string) (float64, bool) {
	s = strings.TrimSpace(s)
	switch strings.ToLower(strings.TrimLeft(s, "+-")) {
	case "inf", "infinity":
		if strings.HasPrefix(s, "-") {
			return math.Inf(-1), true
		}
		return math.Inf(1), true
	case "nan":
		return math.NaN(), true
	}
	if !pythonNumber.MatchString(s) {
		return 0, false
	}
	f, _ := strconv.ParseFloat(strings.ReplaceAll(s, "_", ""), 64) // out of range gives ±Inf, as in Python
	return f, true
}

// isClose is Python's math.isclose with a relative tolerance of 1e-4.
func isClose(a, b float64) bool {
	if a == b {
		return true
	}
	if math.IsInf(a, 0) || math.IsInf(b, 0) {
		return false
	}
	return math.Abs(a-b) <= 1e-4*math.Max(math.Abs(a), math.Abs(b))
}

var bracedList = regexp.MustCompile(`\{.*,.*\}`)

// paperMatrixOf reads {a,b} as a column, joined by a single backslash.
func paperMatrixOf(ref string) string {
	var out []string
	for _, m := range bracedList.FindAllString(ref, -1) {
		out = append(out, `\begin{pmatrix}`+strings.ReplaceAll(strings.Trim(m, "{}"), ",", `\`)+`\end{pmatrix}`)
	}
	return strings.Join(out, ", ")
}

// withoutBrackets compares with braces and parentheses deleted, and outer square brackets too if the two
// sides do not use different kinds.
func withoutBrackets(pred, ref string) bool {
	within := func(s, open, closing string) bool { return strings.HasPrefix(s, open) && strings.HasSuffix(s, closing) }
	if within(pred, "[", "]") && !within(ref, "(", ")") || within(pred, "(", ")") && !within(ref, "[", "]") {
		pred, ref = strings.Trim(pred, "[]()"), strings.Trim(ref, "[]()")
	}
	drop := strings.NewReplacer("{", "", "}", "", "(", "", ")", "")
	lower := func(s string) string { return strings.ToLower(drop.Replace(s)) } // as the original does: not a case folding
	return lower(pred) == lower(ref)
}

var paperList = regexp.MustCompile(`^[(\[].+[)\]]`)

func isPaperList(s string) bool { return len(s) >= 2 && paperList.MatchString(s) }

// parts compares the pieces between separators one by one.
func (c *paperComparer) parts(pred, ref, separator string, depth int) bool {
	p, r := strings.Split(pred, separator), strings.Split(ref, separator)
	if len(p) != len(r) || len(p) > maxItems {
		return false
	}
	for i := range p {
		if !c.equal(p[i], r[i], depth+1) {
			return false
		}
	}
	return true
}

func isPaperMatrix(s string) bool {
	return strings.HasPrefix(s, `\begin{pmatrix}`) && strings.HasSuffix(s, `\end{pmatrix}`) &&
		len(s) >= len(`\begin{pmatrix}\end{pmatrix}`)
}

func (c *paperComparer) matrix(pred, ref string, depth int) bool {
	rows := func(s string) (out []string) {
		for _, line := range strings.Split(s[len(`\begin{pmatrix}`):len(s)-len(`\end{pmatrix}`)], `\\`) {
			if line = strings.TrimSpace(line); line != "" {
				out = append(out, line)
			}
		}
		return out
	}
	p, r := rows(pred), rows(ref)
	if len(p) != len(r) {
		return false
	}
	for i := range p {
		if !c.parts(p[i], r[i], "&", depth) {
			return false
		}
	}
	return true
}

// equation compares two equations up to sign, or an assignment to a short name with a value.
func (c *paperComparer) equation(pred, ref string, depth int) bool {
	p, r := strings.Split(pred, "="), strings.Split(ref, "=")
	short := func(parts []string) bool { return len(parts) == 2 && len([]rune(strings.TrimSpace(parts[0]))) <= 2 }
	switch {
	case len(p) == 2 && len(r) == 2:
		a := strings.TrimSpace(p[0]) + " - (" + strings.TrimSpace(p[1]) + ")"
		b := strings.TrimSpace(r[0]) + " - (" + strings.TrimSpace(r[1]) + ")"
		if c.symbolic(a, b) || c.symbolic("-("+a+")", b) {
			return c.yes("equation")
		}
	case short(p) && len(r) == 1:
		return c.equal(p[1], ref, depth+1)
	case short(r) && len(p) == 1:
		return c.equal(pred, r[1], depth+1)
	}
	return false
}
