package dataset

import (
	"slices"
	"strconv"
	"strings"

	"multiattempt/internal/verify"
)

// mapping says which columns of a source make a problem. The first column of a list that a record has counts.
type mapping struct {
	question []string
	answer   []string
	id       []string // none present: the row's number from 0
	unit     string   // column with the unit that an answer is asked in
	context  string   // column with a text that precedes the question
	level    string   // column with the difficulty, "Level 5" or 5
	hint     string   // column with hints for failed attempts; empty: none
}

// usual is the mapping of files that say nothing else.
var usual = mapping{
	question: []string{"problem", "question"},
	answer:   []string{"answer", "final_answer", "solution"},
	id:       []string{"id", "unique_id", "problem_id"},
	unit:     "unit",
	context:  "context",
	level:    "level",
}

// with replaces the columns that the user names.
func (m mapping) with(o Options) mapping {
	if o.FieldQuestion != "" {
		m.question = []string{o.FieldQuestion}
	}
	if o.FieldAnswer != "" {
		m.answer = []string{o.FieldAnswer}
	}
	m.hint = o.FieldHint
	return m
}

// problems maps records to problems. What is wrong in a record becomes a fault.
func (m mapping) problems(records []record, bad *faults) []Problem {
	var problems []Problem
	first := map[string]record{}
	for i, r := range records {
		p, ok := m.problem(r, i, bad)
		if !ok {
			continue
		}
		if before, twice := first[p.ID]; twice {
			bad.add(r.file, r.line, "id %q was used before, at %s:%d", p.ID, before.file, before.line)
			continue
		}
		first[p.ID] = r
		problems = append(problems, p)
	}
	return problems
}

// problem maps the record at position i of its source.
func (m mapping) problem(r record, i int, bad *faults) (Problem, bool) {
	question, _, ok := m.find(r, m.question, "question", bad)
	if !ok {
		return Problem{}, false
	}
	raw, column, ok := m.find(r, m.answer, "answer", bad)
	if !ok {
		return Problem{}, false
	}
	answer := goldAnswer(raw, column == "solution")
	if answer == "" {
		bad.add(r.file, r.line, `column %q has no answer: want one in \boxed{…}, after "####", or alone`, column)
		return Problem{}, false
	}
	p := Problem{ID: strconv.Itoa(i), Question: question, Answer: answer}
	for _, column := range m.id {
		if id, ok := r.text(column); ok && id != "" {
			p.ID = id
			break
		}
	}
	if text, _ := r.text(m.context); text != "" {
		p.Question = text + "\n\n" + p.Question
	}
	p.Unit, _ = r.text(m.unit)
	if level, _ := r.text(m.level); level != "" {
		// Other words, such as "Level ?" in MATH, mean that the level is unknown.
		p.Level, _ = strconv.Atoi(strings.TrimPrefix(level, "Level "))
	}
	if m.hint != "" {
		hints, ok := r.texts(m.hint)
		if !ok {
			bad.add(r.file, r.line, "column %q holds neither a text nor a list of texts", m.hint)
			return Problem{}, false
		}
		p.Hints = hints
	}
	return p, true
}

// find returns the text of the first of the columns that the record has.
func (m mapping) find(r record, columns []string, what string, bad *faults) (text, column string, ok bool) {
	for _, column := range columns {
		value, present := r.fields[column]
		if !present || value == nil {
			continue
		}
		text, ok := r.text(column)
		switch {
		case !ok:
			bad.add(r.file, r.line, "column %q holds neither text, number nor a list of these", column)
		case text == "":
			bad.add(r.file, r.line, "the %s is empty (column %q)", what, column)
		default:
			return text, column, true
		}
		return "", "", false
	}
	has := make([]string, 0, len(r.fields))
	for name := range r.fields {
		has = append(has, name)
	}
	slices.Sort(has)
	bad.add(r.file, r.line, "no %s: want a column %s, it has %s", what, quoted(columns, " or "), quoted(has, ", "))
	return "", "", false
}

func quoted(words []string, separator string) string {
	if len(words) == 0 {
		return "none"
	}
	q := make([]string, len(words))
	for i, w := range words {
		q[i] = strconv.Quote(w)
	}
	return strings.Join(q, separator)
}

// goldAnswer takes the answer out of a column's text: what follows GSM8K's "####", else the last box, else, unless a
// box is required, the text itself. Dollar signs that only delimit mathematics are dropped; commas that group a GSM8K
// answer's thousands too.
func goldAnswer(text string, boxRequired bool) string {
	if at := strings.LastIndex(text, "####"); at >= 0 {
		return strings.ReplaceAll(strings.TrimSpace(text[at+len("####"):]), ",", "")
	}
	if answer, status := verify.Extract(text, verify.Options{}); status == verify.ExtractFound {
		return strings.TrimSpace(answer)
	}
	if boxRequired {
		return ""
	}
	return dropDelimiters(text)
}

// dropDelimiters removes every dollar sign that no backslash escapes.
func dropDelimiters(text string) string {
	var b strings.Builder
	for i := range len(text) {
		if text[i] != '$' || i > 0 && text[i-1] == '\\' {
			b.WriteByte(text[i])
		}
	}
	return strings.TrimSpace(b.String())
}
