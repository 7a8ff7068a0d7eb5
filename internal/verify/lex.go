package verify

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"
)

// tokenKind is the kind of a token.
type tokenKind uint8

const (
	tEnd    tokenKind = iota
	tNum              // digits, perhaps with a point and an exponent; separators of thousands removed
	tLetter           // one letter, perhaps with its alphabet, as in "mathcal F"
	tWord             // a run of two or more plain letters that is not a known name
	tRoman            // \mathrm{…}, \operatorname{…}: upright letters
	tText             // \text{…} and the like: s is the contents
	tCmd              // a control sequence or a known name, without the backslash
	tPunct            // an operator, bracket or sign
)

// token is a lexical unit of an answer.
type token struct {
	kind   tokenKind
	s      string
	spaced bool // white space came before it
	merged bool // tNum: commas were read as separators of thousands
}

func (t token) is(s string) bool { return (t.kind == tPunct || t.kind == tCmd) && t.s == s }

var (
	errSyntax = errors.New("not mathematics that this package reads")
	errLimit  = errors.New("answer exceeds a work limit")
)

// lexer splits an answer into tokens.
type lexer struct {
	s      string
	i      int
	out    []token
	spaced bool
	depth  int // open brackets: inside them a comma always separates
	style  style
}

// style selects a reading of an answer.
type style uint8

const (
	plainStyle style = iota
	// splitStyle keeps commas separators, also between groups of three digits.
	splitStyle
	// texStyle reads LaTeX as the parser of the paper's grader does: letters are variables, unless a
	// backslash stands before them; a control sequence may run into the letters after it; no unit is read.
	texStyle
)

// lex tokenises an answer.
func lex(s string, style style) ([]token, error) {
	if len(s) > maxAnswerBytes {
		return nil, errLimit
	}
	if !utf8.ValidString(s) {
		return nil, errSyntax
	}
	if !isASCII(s) {
		s = plainUnicode(s)
	}
	l := &lexer{s: s, style: style, out: make([]token, 0, min(len(s)+1, 64))}
	for l.i < len(l.s) {
		if err := l.next(); err != nil {
			return nil, err
		}
		if len(l.out) > maxTokens {
			return nil, errLimit
		}
	}
	return l.out, nil
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

func (l *lexer) emit(k tokenKind, s string) {
	l.out = append(l.out, token{kind: k, s: s, spaced: l.spaced})
	l.spaced = false
}

func (l *lexer) rest() string { return l.s[l.i:] }

func (l *lexer) next() error {
	c := l.s[l.i]
	switch {
	case isSpace(c) || c == '~':
		l.i++
		l.spaced = true
	case c == '\\':
		return l.command()
	case isDigit(c) || c == '.' && l.i+1 < len(l.s) && isDigit(l.s[l.i+1]):
		return l.number()
	case isLetter(c):
		l.letters()
	case c >= utf8.RuneSelf:
		l.foreign()
	default:
		return l.punct(c)
	}
	return nil
}

func isDigit(c byte) bool  { return '0' <= c && c <= '9' }
func isLetter(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }

// punct reads an operator. Dollar signs delimit formulas and mean nothing.
func (l *lexer) punct(c byte) error {
	for _, p := range [...]struct{ from, to string }{
		{"**", "^"}, {"<=", "<="}, {">=", ">="}, {"!=", "!="}, {"==", "="}, {"=<", "<="}, {"->", "to"},
		{"...", "..."}, {"||", "||"}, {"$", ""},
	} {
		if strings.HasPrefix(l.rest(), p.from) {
			if p.from == "||" && l.depth == 0 {
				break // |x||y| rather than a norm
			}
			l.i += len(p.from)
			if p.to != "" {
				l.emit(tPunct, p.to)
			} else {
				l.spaced = true
			}
			return nil
		}
	}
	if strings.IndexByte("+-*/^_=<>!%'|()[]{},;:&.?\"`", c) < 0 {
		return errSyntax
	}
	l.i++
	switch c {
	case '(', '[':
		l.depth++
	case ')', ']':
		l.depth = max(0, l.depth-1)
	case '"', '`':
		l.spaced = true
		return nil
	}
	l.emit(tPunct, string(c))
	return nil
}

// number reads digits, separators of thousands, a decimal point and an exponent.
func (l *lexer) number() error {
	spaced := l.spaced
	digits, merged := l.integer()
	if l.i < len(l.s) && l.s[l.i] == '.' && !strings.HasPrefix(l.rest(), "..") {
		l.i++
		digits += "." + l.digitRun()
	}
	digits += l.exponent()
	if len(digits) > maxDigits {
		return errLimit
	}
	l.out = append(l.out, token{kind: tNum, s: digits, spaced: spaced, merged: merged})
	l.spaced = false
	return nil
}

// integer reads a digit run and the groups of three that continue it; merged tells that plain commas
// separated them. Commas separate numbers, not thousands, unless every group of the whole run has three
// digits.
func (l *lexer) integer() (digits string, merged bool) {
	inList := len(l.out) > 0 && l.out[len(l.out)-1].is(",") && !l.spaced
	first := l.digitRun()
	if len(first) == 0 || len(first) > 3 {
		return first, false
	}
	var b strings.Builder
	b.WriteString(first)
	start := l.i
	for {
		n, comma := l.separator()
		end := l.i + n + 3
		if n == 0 || end > len(l.s) || !allDigits(l.s[l.i+n:end]) {
			break
		}
		if end < len(l.s) && isDigit(l.s[end]) || comma && inList {
			l.i = start
			return first, false
		}
		b.WriteString(l.s[l.i+n : end])
		l.i = end
		merged = merged || comma
	}
	if merged && l.continuesList() {
		l.i = start
		return first, false
	}
	return b.String(), merged
}

// continuesList reports whether another plain comma and digit follow: then the commas make a list.
func (l *lexer) continuesList() bool {
	r := l.rest()
	return len(r) > 1 && r[0] == ',' && isDigit(r[1])
}

func (l *lexer) digitRun() string {
	start := l.i
	for l.i < len(l.s) && isDigit(l.s[l.i]) {
		l.i++
	}
	return l.s[start:l.i]
}

func allDigits(s string) bool {
	for i := 0; i < len(s); i++ {
		if !isDigit(s[i]) {
			return false
		}
	}
	return true
}

// separator returns the length of a separator of thousands at the current position, 0 if there is none,
// and whether it is a plain comma, which may also separate the items of a list.
func (l *lexer) separator() (length int, comma bool) {
	r := l.rest()
	if l.style == texStyle {
		if strings.HasPrefix(r, "{,}") {
			return len("{,}"), false
		}
		return 0, false
	}
	for _, sep := range [...]string{`{,}`, `,\!`, `{,\!}`, `\,`, `\ `, `{\,}`, ` `} {
		if strings.HasPrefix(r, sep) {
			n := len(sep)
			for sep != " " && n < len(r) && r[n] == ' ' {
				n++
			}
			return n, false
		}
	}
	if strings.HasPrefix(r, ",") && l.depth == 0 && l.style == plainStyle {
		return 1, true
	}
	return 0, false
}

// exponent reads e5, E-3 and the like, if no letter, digit group or power follows.
func (l *lexer) exponent() string {
	r := l.rest()
	if len(r) < 2 || r[0] != 'e' && r[0] != 'E' {
		return ""
	}
	i := 1
	if r[i] == '-' || r[i] == '+' {
		i++
	}
	start := i
	for i < len(r) && isDigit(r[i]) {
		i++
	}
	if i == start || i < len(r) && (isLetter(r[i]) || r[i] == '^') {
		return ""
	}
	l.i += i
	return r[:i]
}

// letters reads a run of plain letters: a known name, a single letter, or a word.
func (l *lexer) letters() {
	start := l.i
	for l.i < len(l.s) && isLetter(l.s[l.i]) {
		l.i++
	}
	run := l.s[start:l.i]
	if l.style == texStyle {
		for i := range run {
			l.emit(tLetter, run[i:i+1])
		}
		return
	}
	if strings.HasPrefix(l.rest(), ".") && (run == "np" || run == "math") && l.i+1 < len(l.s) && isLetter(l.s[l.i+1]) {
		l.i++ // np.arcsin and math.sqrt: the module's name says nothing
		return
	}
	if len(run) == 1 {
		l.emit(tLetter, run)
		return
	}
	if name, ok := plainNames[run]; ok {
		l.emit(tCmd, name)
		return
	}
	// A function's name may follow a letter without a space, as in "isqrt(2)".
	if l.i < len(l.s) && (l.s[l.i] == '(' || l.s[l.i] == '{') {
		for _, f := range [...]string{"sqrt", "sin", "cos", "tan", "ln", "log"} {
			if head, ok := strings.CutSuffix(run, f); ok && len(head) == 1 {
				l.emit(tLetter, head)
				l.emit(tCmd, f)
				return
			}
		}
	}
	l.emit(tWord, run)
}

// foreign reads a run of letters of other scripts as one word; other characters are not mathematics.
func (l *lexer) foreign() {
	start := l.i
	for l.i < len(l.s) {
		r, n := utf8.DecodeRuneInString(l.rest())
		if r < utf8.RuneSelf || !unicode.IsLetter(r) && !unicode.IsMark(r) {
			if l.i == start {
				l.i += n
			}
			break
		}
		l.i += n
	}
	l.emit(tWord, l.s[start:l.i])
}
