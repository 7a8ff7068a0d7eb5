package printable_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/printable"
)

func TestText(t *testing.T) {
	for in, want := range map[string]string{
		"plain, ünïcode ∑ 数\n\ttwo": "plain, ünïcode ∑ 数\n\ttwo",
		"\x1b[31mred\x1b[0m":        "<U+001B>[31mred<U+001B>[0m",
		"\x1b]0;title\x07":          "<U+001B>]0;title<U+0007>",
		"c1 \u009b31m":              "c1 <U+009B>31m",
		"over\rwrite\r\n":           "over<U+000D>write\n",
		"abc\u202etxt.exe\u2066":    "abc<U+202E>txt.exe<U+2066>",
		"zero\u200bwidth\ufeff":     "zero<U+200B>width<U+FEFF>",
		"tag\U000e0041":             "tag<U+E0041>",
		"bad \xff\xfe":              "bad <0xFF><0xFE>",
		"می\u200cخواهم 👩\u200d🔬":    "می\u200cخواهم 👩\u200d🔬",
		"lines\u2028apart\x00":      "lines<U+2028>apart<U+0000>",
		"":                          "",
	} {
		require.Equal(t, want, printable.Text(in))
	}
}

func TestLine(t *testing.T) {
	require.Equal(t, "a b <U+001B>c", printable.Line(" a\n\tb \x1bc", 20))
	require.Equal(t, "aaaa…", printable.Line(strings.Repeat("a", 1<<20), 5))
	require.Equal(t, "日本…", printable.Line("日本語の文", 3))
	require.Empty(t, printable.Line("\n", 10))
}

func TestCut(t *testing.T) {
	head, left := printable.Cut("日本語", 4)
	require.Equal(t, "日", head)
	require.Equal(t, 6, left)
	head, left = printable.Cut("abc", 3)
	require.Equal(t, "abc", head)
	require.Zero(t, left)
}

func FuzzText(f *testing.F) {
	f.Add("\x1b[2J\u202e\xff")
	f.Fuzz(func(t *testing.T, s string) {
		out := printable.Text(s)
		if !utf8.ValidString(out) || strings.ContainsFunc(out, printable.Obeyed) {
			t.Fatalf("%q", out)
		}
		if n := utf8.RuneCountInString(printable.Line(s, 12)); n > 12 {
			t.Fatal(n)
		}
	})
}
