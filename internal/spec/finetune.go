package spec

// Finetune describes supervised fine-tuning of a language model on dialogues: cross-entropy on the assistant's tokens.
type Finetune struct {
	Preset        string `json:"preset,omitempty"`
	Name          string `json:"name,omitempty"`
	Seed          uint64 `json:"seed"`
	Steps         int    `json:"steps"`          // optimiser steps
	StepsPerPart  int    `json:"steps_per_part"` // optimiser steps of one activity; full state is kept after each part
	ContinueAfter int    `json:"continue_after"` // parts after which the workflow continues as new; 0 leaves it to Temporal
	// Model is where to start; when Model.Source is "random", Architecture is drawn from Seed.
	Model        Model        `json:"model"`
	Architecture Architecture `json:"architecture"`
	Data         TuningData   `json:"data"`
	Prompt       Prompt       `json:"prompt"`
	Optimizer    Optimizer    `json:"optimizer"` // PolicyLR is the learning rate; CriticLR is unused and refused when set
	LoRA         LoRA         `json:"lora"`      // of a given model; one from nothing has no base to adapt
	Microbatch   int          `json:"microbatch"`
}

// Architecture is a Llama-family decoder to be made from scratch, with a character-level tokenizer.
type Architecture struct {
	HiddenSize       int     `json:"hidden_size"`
	IntermediateSize int     `json:"intermediate_size"`
	Layers           int     `json:"layers"`
	Heads            int     `json:"heads"`
	KVHeads          int     `json:"kv_heads"`
	MaxPositions     int     `json:"max_positions"`
	RopeTheta        float64 `json:"rope_theta"`
	// Words are pieces of text that are one token each, beside single characters.
	Words []string `json:"words,omitempty"`
}

// TuningData says which dialogues are imitated.
type TuningData struct {
	// Source is "smudged" (generated multi-attempt dialogues of the smudged-digit task) or a .jsonl file whose lines
	// hold {"messages":[{"role","content"}…]}.
	Source    string `json:"source"`
	BatchSize int    `json:"batch_size"` // dialogues of one optimiser step
	// MaxAttempts and Stubborn shape generated dialogues: attempts told are uniform over 1…MaxAttempts, and a retry
	// repeats the answer just rejected with probability Stubborn, otherwise names a value not tried yet, drawn uniformly.
	MaxAttempts int     `json:"max_attempts"`
	Stubborn    float64 `json:"stubborn"`
}
