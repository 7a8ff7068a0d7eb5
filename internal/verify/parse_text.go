package verify

import "strings"

// wordNumbers are the numbers that are read when they are written as words.
var wordNumbers = map[string]int64{
	"zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
	"ten": 10, "eleven": 11, "twelve": 12, "sixteen": 16, "twenty": 20,
}

// proseWords show that an answer is a sentence, not a formula.
var proseWords = nameSet("the arbitrary where import some every each since because hence therefore thus we")

// isProse reports whether a word of three letters or more cannot be mathematics. Shorter ones, such as at,
// may be products.
func isProse(s string) bool { return len(s) > 2 && (stopWords[s] || proseWords[s]) }

// plainWords is the form in which texts are compared: lower case, single spaces, no punctuation, no article.
func plainWords(s string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(s) {
		switch {
		case strings.ContainsRune(".,;:!?\"'`()[]{}$\\*_-", r):
			b.WriteByte(' ')
		default:
			b.WriteRune(r)
		}
	}
	words := strings.Fields(b.String())
	if len(words) > 1 && (words[0] == "the" || words[0] == "a" || words[0] == "an") {
		words = words[1:]
	}
	return strings.Join(words, " ")
}

// parseText reads an answer that consists of words only. nil if it does not.
func parseText(tokens []token) *node {
	if len(tokens) == 1 && tokens[0].kind == tText {
		if n := textContents(tokens[0].s); n != nil {
			return n
		}
	}
	var words []string
	long := false
	for i, t := range tokens {
		switch t.kind {
		case tWord, tRoman:
			long = long || len(t.s) >= 3 || strings.EqualFold(t.s, "no")
		case tText:
			long = long || len(t.s) >= 2
		case tLetter:
			if i > 0 && !t.spaced && !tokens[i-1].is("'") {
				return nil
			}
		case tCmd:
			if plainNames[t.s] != t.s {
				return nil
			}
		case tPunct:
			if !strings.Contains(".,'-!?:;()", t.s) {
				return nil
			}
		default:
			return nil
		}
		words = append(words, t.s)
	}
	if !long {
		return nil
	}
	name := plainWords(strings.Join(words, " "))
	switch name {
	case "all real numbers", "all reals", "real numbers", "all real", "set of all real numbers":
		return constant("bbR")
	case "empty set", "null set":
		return op(kSet)
	}
	return &node{kind: kText, name: name}
}

// textContents reads the contents of a lone \text{…} as an answer, unless they are words.
func textContents(s string) *node {
	tokens, err := lex(s, plainStyle)
	if err != nil || len(tokens) == 0 {
		return nil
	}
	for _, t := range tokens {
		if t.kind == tText || t.kind == tWord && !isUnit(t.s) {
			return nil
		}
	}
	n, err := parseTokens(trimTokens(tokens), plainStyle)
	if err != nil {
		return nil
	}
	return n
}

// isChoiceLetter reports whether s is one of the capital letters that number the options of a question.
func isChoiceLetter(s string) bool { return len(s) == 1 && 'A' <= s[0] && s[0] <= 'J' }

// parseChoice reads a multiple-choice answer: (C), \text{(C)}, "C) 12", "C. 12", "(D) Alina", "C Cecile".
// A lone letter is left to the comparison, since it may be a variable.
func parseChoice(tokens []token) *node {
	var letter string
	var rest []token
	switch first := tokens[0]; {
	case first.kind == tText:
		letter, rest = textChoice(first.s, tokens[1:])
	case len(tokens) > 2 && first.is("(") && isChoiceToken(tokens[1]) && tokens[2].is(")"):
		letter, rest = tokens[1].s, tokens[3:]
		if len(rest) > 0 && !rest[0].spaced && rest[0].kind != tText {
			return nil
		}
	case len(tokens) > 1 && isChoiceToken(first):
		letter = first.s
		switch second := tokens[1]; {
		case second.is(")"), (second.is(".") || second.is(":")) && len(tokens) > 2 && tokens[2].spaced:
			rest = tokens[2:]
		case second.kind == tWord && second.spaced && 'A' <= second.s[0] && second.s[0] <= 'Z':
			rest = tokens[1:]
		default:
			return nil
		}
	default:
		return nil
	}
	if letter == "" || namesAnotherChoice(rest) || len(rest) > 0 && rest[0].kind == tPunct && strings.Contains("+-*/^=<>_", rest[0].s) {
		return nil
	}
	n := &node{kind: kChoice, name: letter}
	if rest = trimTokens(rest); len(rest) > 0 {
		text, err := parsePlain(rest, plainStyle)
		if err != nil {
			return nil
		}
		n.kids = []*node{text}
	}
	return n
}

// namesAnotherChoice reports whether the text after a choice's letter offers a second choice, as in "(A) (B)".
func namesAnotherChoice(rest []token) bool {
	for i, t := range rest {
		if isChoiceToken(t) && (len(rest) == 1 || i+1 < len(rest) && rest[i+1].is(")")) {
			return true
		}
		if t.kind == tText && strings.Contains(t.s, ")") {
			return true
		}
	}
	return false
}

func isChoiceToken(t token) bool {
	return (t.kind == tLetter || t.kind == tRoman || t.kind == tText) && isChoiceLetter(t.s)
}

// textChoice reads the letter at the beginning of a text such as "(C)", "C)" or "(D) Alina"; what is left
// of the text goes before rest.
func textChoice(s string, rest []token) (string, []token) {
	s = strings.TrimSpace(s)
	trimmed := strings.TrimPrefix(s, "(")
	if trimmed == "" || !isChoiceLetter(trimmed[:1]) {
		return "", nil
	}
	tail := trimmed[1:]
	switch {
	case tail == "" || tail == ")" || tail == "." || tail == ":" || tail == ").":
		return trimmed[:1], rest
	case strings.HasPrefix(tail, ")") || strings.HasPrefix(tail, ". ") || strings.HasPrefix(tail, ": "):
		more := token{kind: tText, s: strings.TrimSpace(strings.TrimLeft(tail, ").: "))}
		return trimmed[:1], append([]token{more}, rest...)
	}
	return "", nil
}
