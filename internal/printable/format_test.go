package printable_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/printable"
)

type named string

func TestFprintf(t *testing.T) {
	var b bytes.Buffer
	printable.Fprintf(&b, "%s|%v|%q|%d|%.1f|%s|%v\n", "a\x1b[2J", named("\u202eb"), "c\x07", 7, 0.5, printable.Trusted("\x1b[1mours"),
		fmt.Errorf("wrapped: %w", errors.New("d\u2066")))
	require.Equal(t, "a<U+001B>[2J|<U+202E>b|\"c<U+0007>\"|7|0.5|\x1b[1mours|wrapped: d<U+2066>\n", b.String())

	b.Reset()
	printable.Fprintf(&b, "%s", strings.Repeat("é", 1<<20))
	require.Less(t, b.Len(), 20_000)
	require.Regexp(t, `… \[\d+ bytes more\]$`, b.String())
}

func TestJSONIsTheSameToAParser(t *testing.T) {
	text := "\x1b[2J\u009b\u202e\U000e0041\u200d plain ünïcode\n\"quoted\\\""
	var b bytes.Buffer
	e := json.NewEncoder(printable.JSON(&b))
	e.SetEscapeHTML(false)
	require.NoError(t, e.Encode(map[string]string{text: text}))
	require.False(t, bytes.ContainsFunc(b.Bytes(), printable.Obeyed), "%q", b.String())
	require.Contains(t, b.String(), `\u202e\udb40\udc41`)
	var back map[string]string
	require.NoError(t, json.Unmarshal(b.Bytes(), &back))
	require.Equal(t, map[string]string{text: text}, back)
}
