package verify

import (
	"regexp"
	"strconv"
	"strings"
	"unicode"
)

// The functions of this file repeat the string normalisation of the paper's evaluation grader step by
// step, including what it gets wrong: published scores depend on it.

// paperUnit is a word to delete, and the part of it that holds no dot, which must occur for it to match.
type paperUnit struct {
	word    []rune
	literal string
}

// paperUnits are the words that the paper's grader deletes wherever they stand alone; a dot stands for any
// character, as in the regular expressions they are used in.
var paperUnits = func() (out []paperUnit) {
	//nolint:misspell // the list is the original's, its slips included
	names := strings.Split("east|degree|mph|kmph|ft|m sqaure| m east|sq m|deg|mile|q .|monkey|prime|ratio|profit of rs|rd|"+
		"o|gm|p . m|lb|tile|per|dm|lt|gain|ab|way|west|a .|b .|c .|d .|e .|f .|g .|h .|t|a|h|no change|men|soldier|pie|bc|"+
		"excess|st|inches|noon|percent|by|gal|kmh|c|acre|rise|a . m|th|π r 2|sq|mark|l|toy|coin|sq . m|gallon|° f|profit|"+
		"minw|yr|women|feet|am|pm|hr|cu cm|square|v â € ™|are|rupee|rounds|cubic|cc|mtr|s|ohm|number|kmph|day|hour|minute|"+
		"min|second|man|woman|sec|cube|mt|sq inch|mp|∏ cm ³|hectare|more|sec|unit|cu . m|cm 2|rs .|rs|kg|g|month|km|m|cm|"+
		"mm|apple|liter|loss|yard|pure|year|increase|decrease|d|less|Surface|litre|pi sq m|s .|metre|meter|inch", "|")
	for _, suffix := range [...]string{"", "s"} {
		for _, n := range names {
			literal, _, _ := strings.Cut(n+suffix, ".")
			out = append(out, paperUnit{word: []rune(n + suffix), literal: literal})
		}
	}
	return out
}()

var (
	arrayBegin   = regexp.MustCompile(`\\begin\{array\}\{.*?\}`)
	arrayEnd     = regexp.MustCompile(`\\end\{array\}`)
	textAtEnd    = regexp.MustCompile(`\\text\{.*?\}$`)
	textCommand  = regexp.MustCompile(`\\text\{(.*?)\}`)
	mboxCommand  = regexp.MustCompile(`\\mbox\{.*?\}`)
	zerosInside  = regexp.MustCompile(`(\d+)\.0*([^\d])`)
	zerosAtEnd   = regexp.MustCompile(`(\d+)\.0*$`)
	sqrtArgument = regexp.MustCompile(`\\sqrt([\p{L}\p{N}_]+)`)

	paperAliases = strings.NewReplacer("bmatrix", "pmatrix")
	paperFracs   = strings.NewReplacer("tfrac", "frac", "dfrac", "frac")
	paperNames   = []string{"x=", "y=", "z=", `x\in`, `y\in`, `z\in`, `x\to`, `y\to`, `z\to`}
)

// paperStrip is the normal form in which the paper's grader compares answers.
func paperStrip(s string) string {
	s = strings.ReplaceAll(strings.TrimSpace(s), "\n", "")
	s = strings.TrimRight(s, ".")
	s = strings.ReplaceAll(s, `\!`, "")
	s = arrayBegin.ReplaceAllLiteralString(s, `\begin{pmatrix}`)
	s = arrayEnd.ReplaceAllLiteralString(s, `\end{pmatrix}`)
	s = paperFracs.Replace(paperAliases.Replace(s))
	for _, pair := range [...][2]string{
		{`\neq`, `\ne`}, {`\leq`, `\le`}, {`\geq`, `\ge`}, {`\left`, ""}, {`\right`, ""}, {`\{`, "{"}, {`\}`, "}"},
	} {
		s = strings.ReplaceAll(s, pair[0], pair[1])
	}
	if t := strings.TrimSpace(textAtEnd.ReplaceAllLiteralString(s, "")); t != "" && t != s {
		s = t
	}
	s = paperDropUnits(s)
	for _, drop := range [...]string{`^{\circ}`, `^\circ`, `\$`, "$", `\(`, `\)`} {
		s = strings.ReplaceAll(s, drop, "")
	}
	s = wordNumber(s)
	s = textCommand.ReplaceAllString(s, "$1")
	for _, name := range paperNames {
		s = strings.ReplaceAll(s, name, "")
	}
	s = strings.ReplaceAll(s, `\emptyset`, "{}")
	s = strings.ReplaceAll(s, `(-\infty,\infty)`, `\mathbb{R}`)
	s = strings.ReplaceAll(strings.ReplaceAll(s, `\%`, ""), "%", "")
	s = strings.ReplaceAll(strings.ReplaceAll(s, " .", " 0."), "{.", "{0.")
	s = strings.ReplaceAll(s, "infinity", `\infty`)
	if !strings.Contains(s, `\infty`) {
		s = strings.ReplaceAll(s, "inf", `\infty`)
	}
	s = strings.ReplaceAll(strings.ReplaceAll(s, "and", ""), `\mathbf`, "")
	s = mboxCommand.ReplaceAllLiteralString(s, "")
	if strings.Contains(s, "j") && !strings.Contains(s, "i") {
		s = strings.ReplaceAll(s, "j", "i")
	}
	s = zerosAtEnd.ReplaceAllString(zerosInside.ReplaceAllString(s, "$1$2"), "$1")
	if s == "" {
		return s
	}
	if s[0] == '.' {
		s = "0" + s
	}
	if parts := strings.Split(s, "="); len(parts) == 2 && len([]rune(parts[0])) <= 2 {
		s = parts[1]
	}
	s = sqrtArgument.ReplaceAllString(s, `\sqrt{$1}`)
	s = strings.ReplaceAll(s, " ", "")
	return paperSlash(paperFractions(s))
}

// paperDropUnits deletes the unit words, twice over, as long as something is left.
func paperDropUnits(s string) string {
	for pass := 0; pass < 2; pass++ {
		for _, unit := range paperUnits {
			if !strings.Contains(s, unit.literal) {
				continue
			}
			if out := dropWord([]rune(s), unit.word); len(out) > 0 {
				s = string(out)
			}
		}
	}
	return s
}

// dropWord substitutes (^|\W)word($|\W) by what surrounds the word, without overlaps.
func dropWord(s, word []rune) []rune {
	var out []rune
	last := 0
	for i := 0; i < len(s); i++ {
		start := i
		switch {
		case i == 0 && matchesAt(s, 0, word):
		case !isWordRune(s[i]) && matchesAt(s, i+1, word):
			start = i + 1
		default:
			continue
		}
		end := start + len(word)
		out = append(append(out, s[last:start]...), s[end:min(end+1, len(s))]...)
		last = min(end+1, len(s))
		i = last - 1
	}
	if last == 0 {
		return s
	}
	return append(out, s[last:]...)
}

// matchesAt reports whether the word stands at s[i] and ends at the end or before a non-word character.
func matchesAt(s []rune, i int, word []rune) bool {
	end := i + len(word)
	if end > len(s) || end < len(s) && isWordRune(s[end]) {
		return false
	}
	for k, c := range word {
		if c != '.' && s[i+k] != c {
			return false
		}
	}
	return true
}

func isWordRune(r rune) bool { return r == '_' || unicode.IsLetter(r) || unicode.IsNumber(r) }

// paperFractions adds the braces of \frac12 and \frac1{72}.
func paperFractions(s string) string {
	parts := strings.Split(s, `\frac`)
	var b strings.Builder
	b.WriteString(parts[0])
	for _, p := range parts[1:] {
		b.WriteString(`\frac`)
		if strings.HasPrefix(p, "{") {
			b.WriteString(p)
			continue
		}
		r := []rune(p)
		if len(r) < 2 {
			return s
		}
		b.WriteString("{" + string(r[0]) + "}")
		if r[1] == '{' {
			b.WriteString(string(r[1:]))
		} else {
			b.WriteString("{" + string(r[1]) + "}" + string(r[2:]))
		}
	}
	return b.String()
}

// paperSlash writes a/b as a fraction if both are integers, or have a root in them.
func paperSlash(s string) string {
	parts := strings.Split(s, "/")
	if len(parts) != 2 {
		return s
	}
	for _, p := range parts {
		if n, err := strconv.Atoi(p); !strings.Contains(p, "sqrt") && (err != nil || strconv.Itoa(n) != p) {
			return s
		}
	}
	return `\frac{` + parts[0] + "}{" + parts[1] + "}"
}

// englishNumbers are the words of the word2number package.
var englishNumbers = func() map[string]int64 {
	m := map[string]int64{"hundred": 100, "thousand": 1e3, "million": 1e6, "billion": 1e9}
	for i, w := range strings.Fields(`zero one two three four five six seven eight nine ten eleven twelve thirteen
		fourteen fifteen sixteen seventeen eighteen nineteen`) {
		m[w] = int64(i)
	}
	for i, w := range strings.Fields("twenty thirty forty fifty sixty seventy eighty ninety") {
		m[w] = int64(20 + 10*i)
	}
	return m
}()

// wordNumber turns a phrase that contains an English number into digits, and drops leading zeros.
func wordNumber(s string) string {
	phrase := strings.ToLower(strings.ReplaceAll(s, "-", " "))
	if phrase != "" && allDigits(phrase) {
		if trimmed := strings.TrimLeft(phrase, "0"); trimmed != "" {
			return trimmed
		}
		return "0"
	}
	var total, group int64
	found := false
	for _, w := range strings.Fields(phrase) {
		n, ok := englishNumbers[w]
		if !ok {
			continue
		}
		found = true
		switch {
		case n >= 1000:
			total += max(group, 1) * n
			group = 0
		case n == 100:
			group = max(group, 1) * n
		default:
			group += n
		}
	}
	if !found {
		return s
	}
	return strconv.FormatInt(total+group, 10)
}
