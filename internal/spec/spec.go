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
	Checkpoint Checkpoint `json:"checkpoint"`
	Evaluation Evaluation `json:"evaluation"`
}

// Model says where the policy starts from. Critic and reference start as copies of it.
type Model struct {
	// Source is a local folder in Hugging Face layout, "builtin:NAME" (a model in the binary), or "ref:KEY@SHA256:SIZE"
	// (a folder object in the store).
	Source string `json:"source"`
	// MaxLength is the most tokens a dialogue may hold, opening and feedback included; 0 means the model's own limit.
	MaxLength int `json:"max_length"`
}

// Data says which problems are presented.
type Data struct {
	// Train is "smudged" (generated sums with a hidden digit), a file (.jsonl, .parquet) or a data set's name.
	Train string `json:"train"`
	// Limit uses only the first so many problems; 0 means all.
	Limit int `json:"limit"`
	// FieldQuestion and FieldAnswer name the columns of a user's file; empty means problem|question and answer|final_answer|solution.
	FieldQuestion string `json:"field_question,omitempty"`
	FieldAnswer   string `json:"field_answer,omitempty"`
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
	Min int `json:"min"` // N is uniform over Min…Max, one draw a group
	Max int `json:"max"`
	// Stop ends an attempt; StopEvery is the boundary in tokens for StopBoxed, counted from the attempt's start.
	Stop      StopRule `json:"stop"`
	StopEvery int      `json:"stop_every"`
	// Budget is what MaxNewTokens counts: sampled tokens only, feedback never.
	Budget       BudgetRule `json:"budget"`
	MaxNewTokens int        `json:"max_new_tokens"`
}

// Prompt holds the words of the dialogue. {N} is the number of attempts, {n} those that are left.
type Prompt struct {
	System         string `json:"system"`          // opening with several attempts told; {N}
	SystemSingle   string `json:"system_single"`   // opening when SingleAttempt is set
	SingleAttempt  bool   `json:"single_attempt"`  // use SystemSingle: the model is not told N (the paper's baseline)
	Feedback       string `json:"feedback"`        // after a failed attempt; {n}
	FeedbackRole   string `json:"feedback_role"`   // "system" or "user"
	RepeatQuestion bool   `json:"repeat_question"` // repeat the question in a user turn after the feedback
	SystemRepeat   string `json:"system_repeat"`   // replaces System when RepeatQuestion is set
	FeedbackRepeat string `json:"feedback_repeat"` // replaces Feedback when RepeatQuestion is set
}

// Sampling says how tokens are drawn during training rollouts.
type Sampling struct {
	Temperature float64 `json:"temperature"` // > 0
	TopP        float64 `json:"top_p"`       // (0, 1]; 1 is off
	TopK        int     `json:"top_k"`       // 0 is off
}

// Grading says how an answer is judged.
type Grading struct {
	Mode    string `json:"mode"`    // "typed" or "paper", as verify.Mode
	Unboxed bool   `json:"unboxed"` // accept "final answer is …" or the last number when nothing is boxed
}

// Reward is one number an episode, on its last sampled token.
type Reward struct {
	Correct  float64 `json:"correct"`   // some attempt was right
	Wrong    float64 `json:"wrong"`     // never right, but some attempt had a boxed answer
	NoAnswer float64 `json:"no_answer"` // no attempt had one
	// Discount d in (0, 1]: a correct answer in attempt a (from 0) earns Correct·d^a.
	Discount float64 `json:"discount"`
}

// Advantage is generalised advantage estimation over sampled tokens (Schulman et al., arXiv 1506.02438).
type Advantage struct {
	Gamma  float64 `json:"gamma"`  // per-token discount
	Lambda float64 `json:"lambda"` // GAE's λ
	Whiten bool    `json:"whiten"` // (A − mean)/sqrt(max(var, 1e-8)) over all sampled tokens of the iteration
}

// KLPlace says where the divergence from the reference enters.
type KLPlace string

// The places.
const (
	KLInLoss   KLPlace = "loss"
	KLInReward KLPlace = "reward"
	KLNone     KLPlace = "none"
)

// KLEstimator is a per-token estimate of KL(π‖π_ref) from samples of π (Schulman, "Approximating KL Divergence", 2020).
type KLEstimator string

// The estimators; Δ = log π_ref − log π.
const (
	KLK1 KLEstimator = "k1" // −Δ; refused in the loss, where its expected on-policy gradient is zero
	KLK2 KLEstimator = "k2" // Δ²/2
	KLK3 KLEstimator = "k3" // exp(Δ) − 1 − Δ
)

// Aggregation says how per-token losses become one number.
type Aggregation string

// The aggregations.
const (
	AggregateTokens   Aggregation = "token_mean"   // mean over all sampled tokens of the minibatch
	AggregateEpisodes Aggregation = "episode_mean" // mean of per-episode means
)

// OldLogProbs says what the ratio's denominator is.
type OldLogProbs string

// The sources of old log-probabilities.
const (
	OldRecomputed OldLogProbs = "recomputed" // by the policy before its update (the paper)
	// OldSampling recomputes them too, and weights each token by min(π_old/π_sampler, ImportanceClip), π_sampler being what
	// was recorded while sampling (truncated importance sampling: Yao et al., "Your Efficient RL Framework Secretly Brings
	// You Off-Policy RL Training", 2025).
	OldSampling OldLogProbs = "sampling"
)

// Update is the PPO update of one iteration (Schulman et al., arXiv 1707.06347).
type Update struct {
	Minibatch      int         `json:"minibatch"`       // episodes of one optimiser step
	Microbatch     int         `json:"microbatch"`      // episodes of one forward and backward pass; never changes the result beyond rounding
	Epochs         int         `json:"epochs"`          // passes over the iteration's episodes
	Clip           float64     `json:"clip"`            // ε of the policy ratio
	ValueClip      float64     `json:"value_clip"`      // of the value around its old value
	ValueWeight    float64     `json:"value_weight"`    // weight of the value loss, which itself carries the factor 0.5
	KL             KLPlace     `json:"kl"`              //
	KLEstimator    KLEstimator `json:"kl_estimator"`    //
	KLCoefficient  float64     `json:"kl_coefficient"`  //
	Entropy        float64     `json:"entropy"`         // weight of an entropy bonus
	Aggregation    Aggregation `json:"aggregation"`     //
	OldLogProbs    OldLogProbs `json:"old_log_probs"`   //
	ImportanceClip float64     `json:"importance_clip"` // upper bound of the sampler/trainer weight with OldSampling
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

// Checkpoint says how often full state is kept, and how much of it.
type Checkpoint struct {
	Every int `json:"every"` // iterations; the last one always
	Keep  int `json:"keep"`  // newest full checkpoints to keep, at least the last two; latest and best are always kept
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
	ShardSize    int      `json:"shard_size"`     // episodes rolled out together
}
