package workflows

import (
	"encoding/json"
	"fmt"

	"multiattempt/activities"
)

// A workflow's input is what a user writes: the fields of a spec, and nothing else. What a workflow hands to its own
// continuation or to a child travels in one more field, which no spec has.
const carriedField = "carried"

// TrainInput starts Train.
type TrainInput struct {
	Spec    json.RawMessage // JSON object with fields of spec.Run; empty means {}
	Carried *TrainState     // where an earlier part of the same run got to
}

// MarshalJSON writes the spec's fields, and the carried state beside them.
func (in TrainInput) MarshalJSON() ([]byte, error) { return join(in.Spec, in.Carried) }

// UnmarshalJSON reads what MarshalJSON or a user wrote.
func (in *TrainInput) UnmarshalJSON(b []byte) (err error) {
	in.Spec, err = split(b, &in.Carried)
	return err
}

// EvaluateInput starts Evaluate.
type EvaluateInput struct {
	// Spec is a JSON object with fields of spec.Run, of which model, attempts, prompt, grading and evaluation count;
	// evaluation.final_attempts lists every k. With Run set they change that run's own settings.
	Spec json.RawMessage
	Run  string                     // evaluate this run's checkpoint …
	Step int                        // … of this step; 0: the latest
	Task *activities.EvaluationTask // resolved by a parent; everything else is ignored
}

// evaluateFields are the fields of EvaluateInput that are no spec's.
type evaluateFields struct {
	Run  string                     `json:"run,omitempty"`
	Step int                        `json:"step,omitempty"`
	Task *activities.EvaluationTask `json:"task,omitempty"`
}

// MarshalJSON writes the spec's fields, and the others beside them.
func (in EvaluateInput) MarshalJSON() ([]byte, error) {
	fields, err := object(in.Spec)
	if err != nil {
		return nil, err
	}
	own, err := json.Marshal(evaluateFields{Run: in.Run, Step: in.Step, Task: in.Task})
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(own, &fields); err != nil {
		return nil, err
	}
	return json.Marshal(fields)
}

// UnmarshalJSON reads what MarshalJSON or a user wrote.
func (in *EvaluateInput) UnmarshalJSON(b []byte) error {
	fields, err := object(b)
	if err != nil {
		return err
	}
	var own evaluateFields
	if err := json.Unmarshal(b, &own); err != nil {
		return err
	}
	for _, name := range []string{"run", "step", "task"} {
		delete(fields, name)
	}
	in.Run, in.Step, in.Task = own.Run, own.Step, own.Task
	in.Spec, err = json.Marshal(fields)
	return err
}

// FinetuneInput starts Finetune.
type FinetuneInput struct {
	Spec    json.RawMessage // JSON object with fields of spec.Finetune; empty means {}
	Carried *FinetuneState  // where an earlier part of the same run got to
}

// MarshalJSON writes the spec's fields, and the carried state beside them.
func (in FinetuneInput) MarshalJSON() ([]byte, error) { return join(in.Spec, in.Carried) }

// UnmarshalJSON reads what MarshalJSON or a user wrote.
func (in *FinetuneInput) UnmarshalJSON(b []byte) (err error) {
	in.Spec, err = split(b, &in.Carried)
	return err
}

// join writes carried, unless it is nil, beside the spec's fields.
func join[T any](spec json.RawMessage, carried *T) ([]byte, error) {
	fields, err := object(spec)
	if err != nil {
		return nil, err
	}
	if carried != nil {
		if fields[carriedField], err = json.Marshal(carried); err != nil {
			return nil, err
		}
	}
	return json.Marshal(fields)
}

// split takes the carried state out of an input and returns the spec's fields.
func split[T any](b []byte, carried **T) (json.RawMessage, error) {
	fields, err := object(b)
	if err != nil {
		return nil, err
	}
	if raw, ok := fields[carriedField]; ok {
		*carried = new(T)
		if err := json.Unmarshal(raw, *carried); err != nil {
			return nil, err
		}
		delete(fields, carriedField)
	}
	return json.Marshal(fields)
}

// object reads a JSON object; nothing and null stand for the empty one.
func object(b []byte) (map[string]json.RawMessage, error) {
	fields := map[string]json.RawMessage{}
	if len(b) == 0 {
		return fields, nil
	}
	if err := json.Unmarshal(b, &fields); err != nil {
		return nil, fmt.Errorf("workflow input: want a JSON object of settings: %w", err)
	}
	if fields == nil {
		fields = map[string]json.RawMessage{}
	}
	return fields, nil
}
