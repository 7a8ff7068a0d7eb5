package verify

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// ExtractStatus says what Extract found.
type ExtractStatus string

const (
	// ExtractFound: a complete, non-empty answer.
	ExtractFound ExtractStatus = "found"
	// ExtractNone: no box and, if Options.Unboxed is set, nothing else that reads as an answer.
	ExtractNone ExtractStatus = "none"
	// ExtractEmpty: the last complete box holds nothing.
	ExtractEmpty ExtractStatus = "empty"
	// ExtractTruncated: a box was opened and none was ever closed.
	ExtractTruncated ExtractStatus = "truncated"
)

// Extract finds the answer in a model's text: the contents of the last balanced \boxed{…} or \fbox{…}
// that does not lie inside another one. Of a text longer than maxResponseBytes only the end is searched.
func Extract(response string, o Options) (answer string, status ExtractStatus) {
	response = tail(response, maxResponseBytes)
	content, found, opened := lastBox(response)
	switch {
	case found:
		content = strings.TrimSpace(content)
		if content == "" {
			return "", ExtractEmpty
		}
		return content, ExtractFound
	case opened:
		return "", ExtractTruncated
	case o.Unboxed:
		if answer := unboxedAnswer(response); answer != "" {
			return answer, ExtractFound
		}
	}
	return "", ExtractNone
}

// CompleteBox reports whether the text contains a complete box, empty or not.
func CompleteBox(text string) bool {
	_, found, _ := lastBox(tail(text, maxResponseBytes))
	return found
}

// tail returns the last n bytes of s, moved on to the start of a character.
func tail(s string, n int) string {
	if len(s) <= n {
		return s
	}
	s = s[len(s)-n:]
	for i := 0; i < utf8.UTFMax && i < len(s); i++ {
		if utf8.RuneStart(s[i]) {
			return s[i:]
		}
	}
	return s
}

// openBox is a box whose closing brace has not been met.
type openBox struct {
	start int // first byte of the contents
	depth int // brace depth outside the box
}

// lastBox returns the contents of the last closed box. opened tells that some box was opened. One pass:
// braces escaped by a backslash do not count, stray ones outside a box do no harm.
func lastBox(s string) (content string, found, opened bool) {
	var (
		stack     []openBox
		depth     int
		from, end = -1, -1
	)
	for i := 0; i < len(s); {
		j := strings.IndexAny(s[i:], `\{}`)
		if j < 0 {
			break
		}
		i += j
		switch s[i] {
		case '{':
			depth++
			i++
		case '}':
			depth--
			i++
			if n := len(stack); n > 0 && stack[n-1].depth == depth {
				// A box that encloses the one recorded last replaces it; so the outermost wins.
				from, end, found = stack[n-1].start, i-1, true
				stack = stack[:n-1]
			}
		default:
			next, start := boxStart(s, i)
			if start >= 0 {
				opened = true
				if len(stack) < maxOpenBoxes {
					stack = append(stack, openBox{start: start, depth: depth})
				}
				depth++
			}
			i = next
		}
	}
	if !found {
		return "", false, opened
	}
	return s[from:end], true, opened
}

// boxStart reads the control sequence at s[i] == '\\'. next is where to go on; start is the first byte of
// the box's contents if the sequence opens a box, else -1. A doubled backslash, as in text that was
// escaped once too often, also opens a box.
func boxStart(s string, i int) (next, start int) {
	for i < len(s) && s[i] == '\\' {
		rest := s[i+1:]
		for _, name := range [...]string{"boxed", "fbox"} {
			if !strings.HasPrefix(rest, name) {
				continue
			}
			k := i + 1 + len(name)
			for k < len(s) && isSpace(s[k]) {
				k++
			}
			if k < len(s) && s[k] == '{' {
				return k + 1, k + 1
			}
		}
		if !strings.HasPrefix(rest, `\`) {
			break
		}
		if !strings.HasPrefix(rest, `\boxed`) && !strings.HasPrefix(rest, `\fbox`) {
			break
		}
		i++
	}
	return min(i+2, len(s)), -1
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

// answerPhrases introduce an answer that is not boxed, the most explicit first.
var answerPhrases = []string{"final answer is", "answer is", "final answer:", "answer:"}

// unboxedAnswer finds the text after the last answer phrase, or else the last number. "" if neither occurs.
func unboxedAnswer(s string) string {
	s = tail(s, maxUnboxedBytes)
	lower := asciiLower(s)
	for _, phrase := range answerPhrases {
		if at := strings.LastIndex(lower, phrase); at >= 0 {
			if answer := phraseAnswer(s[at+len(phrase):]); answer != "" {
				return answer
			}
		}
	}
	return lastNumber(s)
}

// phraseAnswer cuts the answer out of what follows an answer phrase: to the end of the first formula, or
// else to the end of the sentence.
func phraseAnswer(s string) string {
	s = strings.TrimLeft(s, " \t\r\n:*")
	for _, d := range [...][2]string{{"$$", "$$"}, {"$", "$"}, {`\(`, `\)`}, {`\[`, `\]`}} {
		if rest, ok := strings.CutPrefix(s, d[0]); ok {
			if end := strings.Index(rest, d[1]); end >= 0 {
				return strings.TrimSpace(rest[:end])
			}
		}
	}
	if end := strings.IndexByte(s, '\n'); end >= 0 {
		s = s[:end]
	}
	for _, stop := range [...]string{". ", "; "} {
		if end := strings.Index(s, stop); end >= 0 {
			s = s[:end]
		}
	}
	return strings.Trim(s, " \t\r.*$")
}

// lastNumber returns the last run of digits with its sign, separators, decimals or slash.
func lastNumber(s string) string {
	end := strings.LastIndexFunc(s, func(r rune) bool { return r < utf8.RuneSelf && unicode.IsDigit(r) })
	if end < 0 {
		return ""
	}
	start := end
	for start > 0 && strings.IndexByte("0123456789.,/", s[start-1]) >= 0 {
		start--
	}
	for start < end && strings.IndexByte(",/", s[start]) >= 0 {
		start++
	}
	if start > 0 && s[start-1] == '-' && (start == 1 || isSpace(s[start-2]) || strings.IndexByte("=$(:", s[start-2]) >= 0) {
		start--
	}
	return s[start : end+1]
}

// asciiLower lowers ASCII letters and keeps every byte's position.
func asciiLower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}
