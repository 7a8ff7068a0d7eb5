package spec

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// Override returns doc (JSON; empty means {}) with each assignment "a.b=value" written into it. target, a Run or
// Finetune value, says what each path holds: text is taken as it stands, anything else is read as YAML.
func Override(doc []byte, target any, assignments []string) ([]byte, error) {
	if len(assignments) == 0 {
		return doc, nil
	}
	tree := map[string]any{}
	if len(doc) > 0 {
		if err := unmarshalExact(doc, &tree); err != nil {
			return nil, fmt.Errorf("%w: not a JSON object: %w", ErrInvalid, err)
		}
	}
	var wrong []FieldError
	for _, a := range assignments {
		path, text, found := strings.Cut(a, "=")
		kind, known := fieldType(reflect.TypeOf(target), path)
		switch {
		case !found:
			wrong = append(wrong, FieldError{Path: a, Allowed: "an assignment such as iterations=10"})
		case !known:
			wrong = append(wrong, FieldError{Path: path, Value: text, Allowed: missing(reflect.TypeOf(target), path)})
		default:
			value, err := parseValue(kind, text)
			if err != nil {
				wrong = append(wrong, FieldError{Path: path, Value: text, Allowed: typeWords(kind)})
				continue
			}
			assign(tree, strings.Split(path, "."), value)
		}
	}
	if len(wrong) > 0 {
		return nil, invalid("assignment", wrong...)
	}
	return json.Marshal(tree)
}

// missing says what there is in place of a path that leads nowhere.
func missing(t reflect.Type, path string) string {
	parent, key := "", path
	if at := strings.LastIndexByte(path, '.'); at >= 0 {
		parent, key = path[:at], path[at+1:]
	}
	if parent == "" {
		return noSetting(t, key)
	}
	of, known := fieldType(t, parent)
	switch {
	case !known:
		return missing(t, parent)
	case of.Kind() != reflect.Struct:
		return fmt.Sprintf("no such setting; %s is %s", parent, typeWords(of))
	}
	return noSetting(of, key)
}

// fieldType follows a dotted path of JSON names through structs.
func fieldType(t reflect.Type, path string) (reflect.Type, bool) {
	for name := range strings.SplitSeq(path, ".") {
		if t.Kind() != reflect.Struct {
			return nil, false
		}
		i := slices.Index(keys(t), name)
		if i < 0 {
			return nil, false
		}
		t = t.Field(i).Type
	}
	return t, true
}

func parseValue(t reflect.Type, text string) (json.RawMessage, error) {
	if t.Kind() == reflect.String {
		return json.Marshal(text)
	}
	return yaml.YAMLToJSONStrict([]byte(text))
}

// assign sets tree[path[0]][path[1]]… and makes the objects on the way.
func assign(tree map[string]any, path []string, value json.RawMessage) {
	for _, name := range path[:len(path)-1] {
		next, ok := tree[name].(map[string]any)
		if !ok {
			next = map[string]any{}
			tree[name] = next
		}
		tree = next
	}
	tree[path[len(path)-1]] = value
}

// unmarshalExact decodes without rounding whole numbers beyond 2⁵³.
func unmarshalExact(doc []byte, into any) error {
	d := json.NewDecoder(strings.NewReader(string(doc)))
	d.UseNumber()
	return d.Decode(into)
}
