// Package spec is a run's complete, immutable description: every hyper-parameter, its default and what is allowed.
//
// A Run is pure data. It travels as a workflow's input, its digest stands in every checkpoint manifest, and nothing
// outside it may influence what a run computes.
package spec

// Run holds every setting of a training run. Default() is the starting point; presets and users override fields.
type Run struct {
	// Preset names the settings to start from; empty means the defaults. Resolved once, when the run starts.
	Preset string `json:"preset,omitempty"`
	// Name is for people: shown in lists; empty means the workflow id.
	Name string `json:"name,omitempty"`
	// Seed keys every random draw of the run.
	Seed uint64 `json:"seed"`
	// Iterations is the number of steps of sample, roll out, reward, update.
	Iterations int `json:"iterations"`
	// CriticWarmup is the number of first iterations in which only the critic learns and the policy is held still.
	CriticWarmup int `json:"critic_warmup"`
	// ContinueAfter is the number of iterations after which the workflow continues as new; 0 leaves it to Temporal.
	ContinueAfter int `json:"continue_after"`

	Model      Model      `json:"model"`
	Data       Data       `json:"data"`
	Attempts   Attempts   `json:"attempts"`
	Prompt     Prompt     `json:"prompt"`
	Sampling   Sampling   `json:"sampling"`
	Grading    Grading    `json:"grading"`
	Reward     Reward     `json:"reward"`
	Advantage  Advantage  `json:"advantage"`
	Update     Update     `json:"update"`
	Optimizer  Optimizer  `json:"optimizer"`
	LoRA       LoRAs      `json:"lora"`
	Checkpoint Checkpoint `json:"checkpoint"`
	Evaluation Evaluation `json:"evaluation"`
	Record     Record     `json:"record"`
}

// Model says where the policy starts from. Critic and reference start as copies of it.
type Model struct {
	// Source is a local folder in Hugging Face layout, "hf:ORGANISATION/NAME[@REVISION]" (the Hugging Face Hub),
	// "s3://BUCKET/PREFIX", "builtin:NAME" (a model in the binary), or "ref:KEY@SHA256:SIZE" (a folder object in the store).
	Source string `json:"source"`
	// MaxLength is the most tokens a dialogue may hold, opening and feedback included; 0 means the model's own limit.
	MaxLength int `json:"max_length"`
	// Compute is the type that training computes in: activations and the operands of matrix products. Weights, norms,
	// softmax, losses, gradients' sums and the optimiser stay float32.
	Compute Compute `json:"compute"`
}

// Compute is a type of numbers to compute in.
type Compute string

// The types.
const (
	ComputeFloat32  Compute = "float32"
	ComputeBFloat16 Compute = "bfloat16" // half the memory, and several times faster where the device has units for it
)

// Data says which problems are presented.
type Data struct {
	// Train is "smudged" (generated sums with a hidden digit), a file (.jsonl, .parquet) or a data set's name.
	Train string `json:"train"`
	// Levels uses only problems of these levels; empty means all of them.
	Levels []int `json:"levels,omitempty"`
	// Curriculum is the number of first iterations over which the levels open one after another, in equal parts and the
	// lowest first (Bengio et al., "Curriculum Learning", 2009); 0 presents all levels from the start.
	Curriculum int `json:"curriculum"`
	// Limit uses only the first so many problems; 0 means all.
	Limit int `json:"limit"`
	// FieldQuestion and FieldAnswer name the columns of a user's file; empty means problem|question and answer|final_answer|solution.
	FieldQuestion string `json:"field_question,omitempty"`
	FieldAnswer   string `json:"field_answer,omitempty"`
	// FieldHint names the column with a problem's hints for {hint} in the feedback, a text or a list: one for each failed
	// attempt, the last of them for all that follow.
	FieldHint string `json:"field_hint,omitempty"`
	// ProblemsPerStep is P, the number of problems presented in one iteration.
	ProblemsPerStep int `json:"problems_per_step"`
	// GroupSize is G, the number of episodes of each presented problem; a group shares its number of attempts.
	GroupSize int `json:"group_size"`
	// ShardSize is the number of episodes rolled out together by one activity; at most 128 keeps a retry cheap.
	ShardSize int `json:"shard_size"`
}

// StopRule says when an attempt ends.
type StopRule string

// The stop rules.
const (
	StopTurn  StopRule = "turn"  // at the end-of-turn token
	StopBoxed StopRule = "boxed" // also at the first multiple of StopEvery tokens by which a box is complete (the paper's code)
)

// BudgetRule says what the token budget counts.
type BudgetRule string

// The budget rules.
const (
	BudgetShared     BudgetRule = "shared"      // all attempts of an episode together (the paper)
	BudgetPerAttempt BudgetRule = "per_attempt" // each attempt; a truncated attempt is used up and the next one starts
)

// Attempts says how many attempts an episode has and when one ends.
type Attempts struct {
	Min int `json:"min"` // N lies in Min…Max, one draw a group
	Max int `json:"max"`
	// Weights are the relative frequencies of N = Min, Min+1, …, Max; empty means that all are equally frequent.
	Weights []float64 `json:"weights,omitempty"`
	// Stop ends an attempt; StopEvery is the boundary in tokens for StopBoxed, counted from the attempt's start.
	Stop      StopRule `json:"stop"`
	StopEvery int      `json:"stop_every"`
	// Budget is what MaxNewTokens counts: sampled tokens only, feedback never.
	Budget       BudgetRule `json:"budget"`
	MaxNewTokens int        `json:"max_new_tokens"`
}

// Prompt holds the words of the dialogue. In openings, {N} is the number of attempts. In feedback, {left} (or {n}) is the
// number of attempts that are left, {attempt} that of the attempt that failed (from 1), {answer} its answer (empty when it
// gave none, cut when it is long), {hint} a hint.
type Prompt struct {
	System         string `json:"system"`          // opening with several attempts told; {N}
	SystemSingle   string `json:"system_single"`   // opening when SingleAttempt is set
	SingleAttempt  bool   `json:"single_attempt"`  // use SystemSingle: the model is not told N (the paper's baseline)
	Feedback       string `json:"feedback"`        // after a failed attempt
	FeedbackRole   string `json:"feedback_role"`   // "system" or "user"
	RepeatQuestion bool   `json:"repeat_question"` // repeat the question in a user turn after the feedback
	SystemRepeat   string `json:"system_repeat"`   // replaces System when RepeatQuestion is set
	FeedbackRepeat string `json:"feedback_repeat"` // replaces Feedback when RepeatQuestion is set
	// Hints are the texts of {hint} after the first failed attempt, the second and so on, the last of them for all that
	// follow; a problem's own hints (Data.FieldHint) come before them.
	Hints []string `json:"hints,omitempty"`
}

// Sampling says how tokens are drawn during training rollouts.
type Sampling struct {
	Temperature float64 `json:"temperature"` // > 0
	TopP        float64 `json:"top_p"`       // (0, 1]; 1 is off
	TopK        int     `json:"top_k"`       // 0 is off
	MinP        float64 `json:"min_p"`       // [0, 1]: least probability as a share of the likeliest token's; 0 is off
	// Compute is the type that rollouts and evaluations compute in: weights, activations and the key-value cache. Norms,
	// softmax, logits and draws stay float32. Empty means Model.Compute, so that who speaks and who learns round alike.
	Compute Compute `json:"compute,omitempty"`
}

// SamplerCompute is the type that rollouts and evaluations compute in.
func (r Run) SamplerCompute() Compute {
	if r.Sampling.Compute != "" {
		return r.Sampling.Compute
	}
	return r.Model.Compute
}

// Grading says how an answer is judged.
type Grading struct {
	Mode    string `json:"mode"`    // "typed" or "paper", as verify.Mode
	Unboxed bool   `json:"unboxed"` // accept "final answer is …" or the last number when nothing is boxed
}

// Optimizer is Adam with linear warm-up, then cosine decay.
type Optimizer struct {
	PolicyLR       float64 `json:"policy_lr"`
	CriticLR       float64 `json:"critic_lr"`
	Beta1          float64 `json:"beta1"`
	Beta2          float64 `json:"beta2"`
	Epsilon        float64 `json:"epsilon"`
	ClipNorm       float64 `json:"clip_norm"`       // of policy and critic gradients, each on its own; 0 is off
	WarmupFraction float64 `json:"warmup_fraction"` // share of all optimiser steps
	FinalFraction  float64 `json:"final_fraction"`  // learning rate at the end, as a share of the peak; 1 keeps it constant
}

// LoRAs are the adapters of policy and critic, each on its own.
type LoRAs struct {
	Policy LoRA `json:"policy"`
	Critic LoRA `json:"critic"` // its scalar head is trained whole
}

// LoRA trains low-rank adapters of a frozen base in place of all weights: W + Alpha/Rank · B·A (Hu et al., arXiv
// 2106.09685). Networks that have adapters share the base with the reference.
type LoRA struct {
	Rank    int      `json:"rank"`           // 0: all weights are trained
	Alpha   float64  `json:"alpha"`          //
	Targets []string `json:"target_modules"` // linear maps with an adapter, in every layer
}

// Enabled says whether adapters are trained, and not all weights.
func (l LoRA) Enabled() bool { return l.Rank > 0 }

// Scale is the factor of B·A.
func (l LoRA) Scale() float64 { return l.Alpha / float64(l.Rank) }

// LinearModules are the linear maps of a layer: what LoRA.Targets may name.
func LinearModules() []string {
	return []string{"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
}

// Checkpoint says how often full state is kept, and how much of it.
type Checkpoint struct {
	Every     int `json:"every"`      // iterations, never more than 32 between two; the last one always
	Keep      int `json:"keep"`       // newest full checkpoints to keep, at least the last two; latest and best are always kept
	KeepEvery int `json:"keep_every"` // also keep those of every so many iterations; 0: none
	// Best names the score that decides which checkpoint is the best, as ParseMetric reads it: "accuracy" is that at the
	// smallest number of attempts evaluated.
	Best string `json:"best"`
}

// Evaluation says when and how the policy is scored.
type Evaluation struct {
	Every        int      `json:"every"`          // iterations; 0 only when the run ends
	Sets         []string `json:"sets"`           // "smudged", files or names
	Limit        int      `json:"limit"`          // first so many problems of each set; 0 means all
	Attempts     []int    `json:"attempts"`       // k of evaluations during training
	Final        []int    `json:"final_attempts"` // k of the evaluation when the run ends; empty: none
	MaxNewTokens int      `json:"max_new_tokens"` // of an episode, counted as attempts.budget says
	Temperature  float64  `json:"temperature"`    // 0 is greedy
	// NoRepeat keeps greedy answers out of loops: no sequence of so many tokens comes twice in a dialogue, prompt and
	// feedback included; 0 is off.
	NoRepeat  int     `json:"no_repeat_ngram_size"`
	TopP      float64 `json:"top_p"`      // (0, 1]; 1 is off
	Samples   int     `json:"samples"`    // episodes of each problem at each k; more than one only above temperature 0
	ShardSize int     `json:"shard_size"` // episodes rolled out together
	// Parallel is the number of independent single attempts of each problem that the last evaluation, or one by itself,
	// also samples: for pass@k and majority vote beside k attempts in a dialogue. 0: none.
	Parallel            int     `json:"parallel"`
	ParallelTemperature float64 `json:"parallel_temperature"` // > 0
}

// Record says what is kept of each iteration for people to look at, beside what training needs.
type Record struct {
	// TokenScores keeps each sampled token's log-probabilities, value and advantage: about 8 bytes a token.
	TokenScores bool `json:"token_scores"`
	// Rescored is the number of each iteration's first episodes whose log-probabilities are computed again after the update,
	// so that each token's ratio can be shown; costs a forward pass of that many episodes.
	Rescored int `json:"rescored"`
}
