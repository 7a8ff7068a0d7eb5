package dataset

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/parquet-go/parquet-go"

	"multiattempt/internal/blob"
)

// maxLine is the longest line of a JSONL file, in bytes.
const maxLine = 16 << 20

// record is one row of a data file.
type record struct {
	file   string
	line   int // from 1
	fields map[string]any
}

// readRecords reads a .jsonl or .parquet file. Broken lines become faults and reading goes on behind them.
func readRecords(path string, bad *faults) ([]record, File, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, File{}, fmt.Errorf("read data file: %w", err)
	}
	file := File{Path: path, Source: path, SHA256: blob.Sum(content)}
	var records []record
	switch ext := strings.ToLower(filepath.Ext(path)); ext {
	case ".jsonl":
		records = readJSONL(path, content, bad)
	case ".parquet":
		records = readParquet(path, content, bad)
	default:
		bad.add(path, 0, "a data file ends in .jsonl or .parquet, not in %q", ext)
	}
	return records, file, nil
}

// readJSONL reads one JSON object a line; empty lines are skipped.
func readJSONL(path string, content []byte, bad *faults) []record {
	var records []record
	lines := bufio.NewScanner(bytes.NewReader(content))
	lines.Buffer(nil, maxLine)
	n := 0
	for lines.Scan() {
		n++
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 {
			continue
		}
		if !utf8.Valid(line) {
			bad.add(path, n, "not valid UTF-8")
			continue
		}
		d := json.NewDecoder(bytes.NewReader(line))
		d.UseNumber() // 27.0 and 12345678901234567890 keep their digits
		var fields map[string]any
		if err := d.Decode(&fields); err != nil {
			bad.add(path, n, "broken JSON: %s", reason(err))
			continue
		}
		if _, err := d.Token(); !errors.Is(err, io.EOF) {
			bad.add(path, n, "something follows the JSON object")
			continue
		}
		records = append(records, record{file: path, line: n, fields: fields})
	}
	if err := lines.Err(); err != nil {
		bad.add(path, n+1, "line longer than %d MiB", maxLine>>20)
	}
	return records
}

// reason is a decoder's complaint in a person's words.
func reason(err error) string {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return "the line ends in the middle of a value"
	}
	if typed, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Sprintf("want an object, got %s", typed.Value)
	}
	return err.Error()
}

// readParquet reads all columns of all rows.
func readParquet(path string, content []byte, bad *faults) (records []record) {
	defer func() {
		if p := recover(); p != nil { // the library panics on some malformed pages
			bad.add(path, 0, "broken Parquet file: %v", p)
			records = nil
		}
	}()
	rows, err := parquet.Read[any](bytes.NewReader(content), int64(len(content)))
	if err != nil {
		bad.add(path, 0, "broken Parquet file: %v", err)
		return nil
	}
	for i, row := range rows {
		fields, ok := row.(map[string]any)
		if !ok {
			bad.add(path, i+1, "a row is no group of columns but %T", row)
			continue
		}
		records = append(records, record{file: path, line: i + 1, fields: fields})
	}
	return records
}

// text returns a field as text: strings trimmed, whole numbers without ".0", lists joined by commas. ok is false when
// the field is absent, null or of another kind.
func (r record) text(field string) (s string, ok bool) { return asText(r.fields[field]) }

// texts returns a field's texts: one, those of a list, or none when the field is absent, null or empty. ok is false when it
// is of another kind.
func (r record) texts(field string) (list []string, ok bool) {
	value := r.fields[field]
	for {
		inner, nested := value.(map[string]any) // Parquet's three-level lists
		if !nested || len(inner) != 1 || inner["list"] == nil {
			break
		}
		value = inner["list"]
	}
	members, isList := value.([]any)
	if !isList {
		members = []any{value}
	}
	for _, m := range members {
		if m == nil {
			continue
		}
		text, ok := asText(m)
		if !ok {
			return nil, false
		}
		if text != "" {
			list = append(list, text)
		}
	}
	return list, true
}

func asText(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return strings.TrimSpace(v), true
	case []byte:
		return strings.TrimSpace(string(v)), true
	case json.Number:
		if whole, ok := strings.CutSuffix(v.String(), ".0"); ok {
			return whole, true
		}
		return v.String(), true
	case float32, float64:
		return strconv.FormatFloat(asFloat(v), 'f', -1, 64), true
	case int32, int64, uint32, uint64:
		return fmt.Sprint(v), true
	case []any:
		parts := make([]string, len(v))
		for i, part := range v {
			s, ok := asText(part)
			if !ok {
				return "", false
			}
			parts[i] = s
		}
		return strings.Join(parts, ", "), len(parts) > 0
	case map[string]any: // Parquet's three-level lists: {"list": [{"element": …}, …]}
		for _, key := range []string{"list", "element", "item"} {
			if inner, ok := v[key]; ok && len(v) == 1 {
				return asText(inner)
			}
		}
	}
	return "", false
}

func asFloat(v any) float64 {
	if f, ok := v.(float32); ok {
		return float64(f)
	}
	return v.(float64)
}
