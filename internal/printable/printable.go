// Package printable makes text that nobody vouches for, a model's above all, safe to show: nothing in it moves a cursor,
// reorders what stands beside it or hides.
package printable

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Text returns s with every character that a terminal or a page would obey instead of show written out, as <U+001B>.
// Line feeds and tabs stay; a carriage return before a line feed goes.
func Text(s string) string {
	if !needs(s) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + 16)
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, "<0x%02X>", s[i])
		case r == '\r' && i+1 < len(s) && s[i+1] == '\n':
		case Obeyed(r):
			fmt.Fprintf(&b, "<U+%04X>", r)
		default:
			b.WriteRune(r)
		}
		i += size
	}
	return b.String()
}

// Line is Text on one line of at most width characters; what is left out shows as an ellipsis.
func Line(s string, width int) string {
	const enough = 16 // bytes of a character and its escape, at most
	if len(s) > enough*width {
		s = strings.ToValidUTF8(s[:enough*width], "")
	}
	s = strings.Join(strings.Fields(Text(s)), " ")
	if utf8.RuneCountInString(s) <= width {
		return s
	}
	return string([]rune(s)[:max(0, width-1)]) + "…"
}

// Cut returns the first limit bytes of s, whole characters only, and how many bytes were left out.
func Cut(s string, limit int) (head string, left int) {
	if len(s) <= limit {
		return s, 0
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit], len(s) - limit
}

// Obeyed reports whether r is acted upon instead of shown: control characters, and the invisible ones that reorder text,
// break lines or tag it (Unicode Bidi_Control and the format characters in general, except the joiners that scripts need).
func Obeyed(r rune) bool {
	switch {
	case r == '\n' || r == '\t':
		return false
	case r == '\u200c' || r == '\u200d': // joiners: Persian, Indic scripts, emoji
		return false
	case unicode.IsControl(r), unicode.Is(unicode.Cf, r), r == '\u2028', r == '\u2029':
		return true
	default:
		return false
	}
}

func needs(s string) bool {
	if !utf8.ValidString(s) {
		return true
	}
	return strings.ContainsFunc(s, Obeyed)
}
