package spec

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"reflect"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// Resolve turns what a user wrote (JSON; empty means {}) into a complete, valid Run: the defaults, overlaid by the
// preset it names, overlaid by its own fields. presets holds NAME.yaml files; a preset may itself start from another.
// Unknown keys, wrong types and values out of range come back together as an *InvalidError, which matches ErrInvalid.
func Resolve(input []byte, presets fs.FS) (Run, error) {
	r := Default()
	if err := overlay("run", input, presets, &r); err != nil {
		return Run{}, err
	}
	return r, r.Validate()
}

// ResolveFinetune is Resolve for supervised fine-tuning.
func ResolveFinetune(input []byte, presets fs.FS) (Finetune, error) {
	f := DefaultFinetune()
	if err := overlay("finetune", input, presets, &f); err != nil {
		return Finetune{}, err
	}
	return f, f.Validate()
}

// PresetNames lists the presets in fsys, ascending.
func PresetNames(fsys fs.FS) ([]string, error) {
	files, err := fs.Glob(fsys, "*.yaml")
	if err != nil {
		return nil, err
	}
	for i, f := range files {
		files[i] = strings.TrimSuffix(f, ".yaml")
	}
	slices.Sort(files)
	return files, nil
}

// overlay writes the input's chain of presets, then the input itself, over what into holds. into is a *Run or
// *Finetune; its Preset ends as the name the input gave.
func overlay(what string, input []byte, presets fs.FS, into any) error {
	if len(strings.TrimSpace(string(input))) == 0 {
		input = []byte("{}")
	}
	layers := [][]byte{input}
	var seen []string
	for doc := input; ; {
		name, err := presetOf(what, doc)
		if err != nil {
			return err
		}
		if name == "" {
			break
		}
		if slices.Contains(seen, name) {
			return invalid(what, FieldError{Path: "preset", Value: name, Allowed: "a preset that does not start from itself"})
		}
		seen = append(seen, name)
		if doc, err = readPreset(what, name, presets); err != nil {
			return err
		}
		layers = append(layers, doc)
	}
	for i, doc := range slices.Backward(layers) {
		if err := decode(what, doc, into); err != nil {
			if i > 0 {
				return fmt.Errorf("preset %s: %w", seen[i-1], err)
			}
			return err
		}
	}
	return nil
}

// presetOf reads the preset a document starts from. A document that is not an object is refused here.
func presetOf(what string, doc []byte) (string, error) {
	var head map[string]json.RawMessage
	if err := json.Unmarshal(doc, &head); err != nil {
		return "", fmt.Errorf("%w %s: not a JSON object: %w", ErrInvalid, what, err)
	}
	var name string
	if raw, ok := head["preset"]; ok {
		if err := json.Unmarshal(raw, &name); err != nil {
			return "", invalid(what, FieldError{Path: "preset", Value: raw, Allowed: "a preset's name as a string"})
		}
	}
	return name, nil
}

func readPreset(what, name string, presets fs.FS) ([]byte, error) {
	text, err := fs.ReadFile(presets, name+".yaml")
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) {
		names, err := PresetNames(presets)
		if err != nil {
			return nil, err
		}
		return nil, invalid(what, FieldError{Path: "preset", Value: name, Allowed: "one of " + strings.Join(names, ", ")})
	}
	if err != nil {
		return nil, fmt.Errorf("preset %s: %w", name, err)
	}
	return FromYAML(text)
}

// FromYAML converts a YAML document to the JSON that Resolve reads. Duplicate keys are refused.
func FromYAML(text []byte) ([]byte, error) {
	doc, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if string(doc) == "null" { // a file of comments only
		return []byte("{}"), nil
	}
	return doc, nil
}

// decode overlays doc on into; every key that into lacks and every value of another type is named.
func decode(what string, doc []byte, into any) error {
	if fields := overlayValue("", doc, reflect.ValueOf(into).Elem()); len(fields) > 0 {
		return invalid(what, fields...)
	}
	return nil
}

// overlayValue writes raw over into and returns what did not fit. Lists replace, objects overlay.
func overlayValue(path string, raw json.RawMessage, into reflect.Value) []FieldError {
	if into.Kind() != reflect.Struct {
		fresh := reflect.New(into.Type())
		if err := json.Unmarshal(raw, fresh.Interface()); err != nil || string(raw) == "null" {
			return []FieldError{{Path: path, Value: raw, Allowed: typeWords(into.Type())}}
		}
		into.Set(fresh.Elem())
		return nil
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(raw, &object); err != nil || object == nil {
		return []FieldError{{Path: path, Value: raw, Allowed: "an object with " + strings.Join(keys(into.Type()), ", ")}}
	}
	var wrong []FieldError
	for _, key := range slices.Sorted(maps.Keys(object)) {
		at := join(path, key)
		if i := slices.Index(keys(into.Type()), key); i >= 0 {
			wrong = append(wrong, overlayValue(at, object[key], into.Field(i))...)
			continue
		}
		wrong = append(wrong, FieldError{Path: at, Value: object[key], Allowed: noSetting(into.Type(), key)})
	}
	return wrong
}

// noSetting says that a document of type t has no such key, and what there is.
func noSetting(t reflect.Type, key string) string {
	if why := notOfFinetuning[key]; why != "" && t == reflect.TypeFor[Finetune]() {
		return why
	}
	return "no such setting; there are " + strings.Join(keys(t), ", ")
}

// notOfFinetuning says why settings of a training run, which one may look for there, are none of a fine-tuning's.
var notOfFinetuning = map[string]string{
	"update":     "none in a fine-tuning, which minimises cross-entropy; data.batch_size and microbatch are its batches",
	"iterations": "none in a fine-tuning: steps counts its optimiser steps",
	"checkpoint": "none in a fine-tuning: it keeps its state after every steps_per_part",
}

// keys returns the JSON names of a struct's fields, in their order.
func keys(t reflect.Type) []string {
	names := make([]string, t.NumField())
	for i := range names {
		names[i], _, _ = strings.Cut(t.Field(i).Tag.Get("json"), ",")
	}
	return names
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// typeWords says what JSON a Go type is written as.
func typeWords(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "text"
	case reflect.Bool:
		return "true or false"
	case reflect.Float64:
		return "a number"
	case reflect.Int:
		return "a whole number"
	case reflect.Uint64:
		return "a whole number from 0 to 2⁶⁴−1"
	case reflect.Slice:
		return "a list, each of its members " + typeWords(t.Elem())
	default:
		return "a value of type " + t.String()
	}
}
