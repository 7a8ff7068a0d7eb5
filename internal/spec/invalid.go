package spec

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrInvalid: settings are wrong. Nothing was started; repeating does not help.
var ErrInvalid = errors.New("invalid settings")

// FieldError is one wrong setting.
type FieldError struct {
	Path    string // dotted JSON names, such as attempts.min
	Value   any    // what stands there; nil when that says nothing
	Allowed string // what may stand there
}

func (e FieldError) String() string {
	if e.Value == nil {
		return fmt.Sprintf("%s: %s", e.Path, e.Allowed)
	}
	value := fmt.Sprint(e.Value)
	switch v := e.Value.(type) {
	case string:
		value = strconv.Quote(v)
	case json.RawMessage:
		value = string(v)
	}
	return fmt.Sprintf("%s = %s: %s", e.Path, value, e.Allowed)
}

// InvalidError lists every wrong setting of one document. It matches ErrInvalid.
type InvalidError struct {
	What   string // what was being read: "run", "finetune", …
	Fields []FieldError
}

func (e *InvalidError) Error() string {
	lines := make([]string, 0, len(e.Fields)+1)
	if len(e.Fields) == 1 {
		lines = append(lines, fmt.Sprintf("invalid %s, 1 wrong setting:", e.What))
	} else {
		lines = append(lines, fmt.Sprintf("invalid %s, %d wrong settings:", e.What, len(e.Fields)))
	}
	for _, f := range e.Fields {
		lines = append(lines, "  "+f.String())
	}
	return strings.Join(lines, "\n")
}

// Unwrap makes errors.Is(err, ErrInvalid) hold.
func (e *InvalidError) Unwrap() error { return ErrInvalid }

func invalid(what string, fields ...FieldError) error {
	return &InvalidError{What: what, Fields: fields}
}

// checker collects the wrong settings of one document.
type checker struct{ fields []FieldError }

// want records the setting at path unless ok holds. Conditions are written so that NaN fails them.
func (c *checker) want(ok bool, path string, value any, allowed string, args ...any) {
	if !ok {
		c.fields = append(c.fields, FieldError{Path: path, Value: value, Allowed: fmt.Sprintf(allowed, args...)})
	}
}

// oneOf records the setting at path unless value is among allowed.
func oneOf[T ~string](c *checker, path string, value T, allowed ...T) {
	names := make([]string, len(allowed))
	for i, a := range allowed {
		if a == value {
			return
		}
		names[i] = string(a)
	}
	c.want(false, path, string(value), "one of %s", strings.Join(names, ", "))
}

func (c *checker) err(what string) error {
	if len(c.fields) == 0 {
		return nil
	}
	return invalid(what, c.fields...)
}
