package printable

import (
	"bytes"
	"fmt"
	"io"
	"reflect"
	"unicode/utf16"
	"unicode/utf8"
)

// mostPrinted bounds one text that Fprintf writes. Unit: bytes.
const mostPrinted = 16 << 10

// Trusted is text that Fprintf writes as it is: colours of our own.
type Trusted string

// Fprintf is fmt.Fprintf with every text and error among args written as Text shows it, and cut when it is very long.
func Fprintf(w io.Writer, format string, args ...any) {
	shown := make([]any, len(args))
	for i, a := range args {
		shown[i] = show(a)
	}
	fmt.Fprintf(w, format, shown...)
}

func show(arg any) any {
	switch v := arg.(type) {
	case Trusted:
		return string(v)
	case error:
		return cut(v.Error())
	}
	if v := reflect.ValueOf(arg); v.Kind() == reflect.String {
		return cut(v.String())
	}
	return arg
}

func cut(s string) string {
	head, left := Cut(s, mostPrinted)
	if left == 0 {
		return Text(s)
	}
	return fmt.Sprintf("%s … [%d bytes more]", Text(head), left)
}

// JSON returns a writer of JSON in which every character that a terminal would obey is escaped, as in \u001b: to a parser it
// is the same. Each Write is of whole values.
func JSON(w io.Writer) io.Writer { return jsonWriter{w} }

type jsonWriter struct{ w io.Writer }

// Write implements io.Writer.
func (j jsonWriter) Write(b []byte) (int, error) {
	if bytes.ContainsFunc(b, Obeyed) {
		var out bytes.Buffer
		for rest := b; len(rest) > 0; {
			r, size := utf8.DecodeRune(rest)
			switch {
			case !Obeyed(r):
				out.Write(rest[:size])
			case r > 0xFFFF:
				high, low := utf16.EncodeRune(r)
				fmt.Fprintf(&out, `\u%04x\u%04x`, high, low)
			default:
				fmt.Fprintf(&out, `\u%04x`, r)
			}
			rest = rest[size:]
		}
		if _, err := j.w.Write(out.Bytes()); err != nil {
			return 0, err
		}
		return len(b), nil
	}
	return j.w.Write(b)
}
