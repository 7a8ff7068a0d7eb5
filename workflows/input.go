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
	// Spec is a JSON object with fields of spec.Run; empty means {}. With Fork set they change the older run's settings.
	Spec    json.RawMessage
	Fork    *activities.Fork // start from this checkpoint of another run
	Carried *TrainState      // where an earlier part of the same run got to
}

// trainFields are the fields of TrainInput that are no spec's.
type trainFields struct {
	Fork    *activities.Fork `json:"fork,omitempty"`
	Carried *TrainState      `json:"carried,omitempty"`
}

// MarshalJSON writes the spec's fields, and the others beside them.
func (in TrainInput) MarshalJSON() ([]byte, error) {
	return join(in.Spec, trainFields{Fork: in.Fork, Carried: in.Carried})
}

// UnmarshalJSON reads what MarshalJSON or a user wrote.
func (in *TrainInput) UnmarshalJSON(b []byte) (err error) {
	var own trainFields
	in.Spec, err = split(b, &own, "fork", carriedField)
	in.Fork, in.Carried = own.Fork, own.Carried
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
	return join(in.Spec, evaluateFields{Run: in.Run, Step: in.Step, Task: in.Task})
}

// UnmarshalJSON reads what MarshalJSON or a user wrote.
func (in *EvaluateInput) UnmarshalJSON(b []byte) (err error) {
	var own evaluateFields
	in.Spec, err = split(b, &own, "run", "step", "task")
	in.Run, in.Step, in.Task = own.Run, own.Step, own.Task
	return err
}

// FinetuneInput starts Finetune.
type FinetuneInput struct {
	Spec    json.RawMessage // JSON object with fields of spec.Finetune; empty means {}
	Carried *FinetuneState  // where an earlier part of the same run got to
}

// finetuneFields are the fields of FinetuneInput that are no spec's.
type finetuneFields struct {
	Carried *FinetuneState `json:"carried,omitempty"`
}

// MarshalJSON writes the spec's fields, and the carried state beside them.
func (in FinetuneInput) MarshalJSON() ([]byte, error) {
	return join(in.Spec, finetuneFields{Carried: in.Carried})
}

// UnmarshalJSON reads what MarshalJSON or a user wrote.
func (in *FinetuneInput) UnmarshalJSON(b []byte) (err error) {
	var own finetuneFields
	in.Spec, err = split(b, &own, carriedField)
	in.Carried = own.Carried
	return err
}

// ExperimentInput starts Experiment.
type ExperimentInput struct {
	Settings json.RawMessage // JSON object with fields of spec.Experiment and of spec.Run; empty means {}
}

// MarshalJSON writes the settings.
func (in ExperimentInput) MarshalJSON() ([]byte, error) {
	fields, err := object(in.Settings)
	if err != nil {
		return nil, err
	}
	return json.Marshal(fields)
}

// UnmarshalJSON reads what MarshalJSON or a user wrote.
func (in *ExperimentInput) UnmarshalJSON(b []byte) error {
	fields, err := object(b)
	if err != nil {
		return err
	}
	in.Settings, err = json.Marshal(fields)
	return err
}

// join writes the fields of own beside the spec's.
func join(spec json.RawMessage, own any) ([]byte, error) {
	fields, err := object(spec)
	if err != nil {
		return nil, err
	}
	beside, err := json.Marshal(own)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(beside, &fields); err != nil {
		return nil, err
	}
	return json.Marshal(fields)
}

// split reads the named fields of an input into own and returns the rest, the spec's.
func split(b []byte, own any, names ...string) (json.RawMessage, error) {
	fields, err := object(b)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, own); err != nil && len(b) > 0 {
		return nil, fmt.Errorf("workflow input: %w", err)
	}
	for _, name := range names {
		delete(fields, name)
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
