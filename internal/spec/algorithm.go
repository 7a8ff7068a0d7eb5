package spec

// Reward is what an episode earns for its outcomes: one number, on its last sampled token (Chung, Du and Fu, arXiv
// 2503.04808), or one an attempt (Advantage.Credit).
type Reward struct {
	// Source is "outcomes" (the numbers below), the address of an HTTP endpoint that computes rewards, or "go:NAME" (a
	// reward that the program was built with). docs/algorithms.md has the endpoint's protocol.
	Source string `json:"source"`
	// BatchSize, TimeoutSeconds and Tries bound the requests to an endpoint: episodes of one request, seconds that one may
	// take, and requests before the activity fails and Temporal repeats it.
	BatchSize      int     `json:"batch_size"`
	TimeoutSeconds float64 `json:"timeout_seconds"`
	Tries          int     `json:"tries"`
	// Secret says where a worker finds the value of the header by which an endpoint knows who asks: "env:REWARD_NAME", a
	// variable of the worker's whose name begins with REWARD_, or "file:NAME", a file in its rewards.secrets_dir; empty: no
	// such header. The value itself is never part of the settings, so it stands in no history, artefact or log.
	Secret string `json:"secret"`
	// Header names that header. The value is all of it: for "Authorization" it reads "Bearer …", for example.
	Header string `json:"header"`

	Correct  float64 `json:"correct"`   // some attempt was right
	Wrong    float64 `json:"wrong"`     // never right, but some attempt had a boxed answer
	NoAnswer float64 `json:"no_answer"` // no attempt had one
	// Discount d in (0, 1]: a correct answer in attempt a (from 0) earns Correct·d^a.
	Discount float64 `json:"discount"`
	// RepeatPenalty is taken off for each attempt whose answer the grader holds equal to an earlier one of the episode,
	// whatever the notation.
	RepeatPenalty float64 `json:"repeat_penalty"`
}

// Estimator says how advantages come of rewards.
type Estimator string

// The estimators.
const (
	// EstimatorGAE is generalised advantage estimation with a critic (Schulman et al., arXiv 1506.02438): the paper's.
	EstimatorGAE Estimator = "gae"
	// EstimatorGRPO compares an episode with its group: (R − mean)/std (Shao et al., "DeepSeekMath", arXiv 2402.03300).
	EstimatorGRPO Estimator = "grpo"
	// EstimatorRLOO subtracts the mean of the group's other episodes (Kool et al. 2019; Ahmadian et al., arXiv 2402.14740).
	EstimatorRLOO Estimator = "rloo"
	// EstimatorReinforce takes the reward still to come, whitened over the iteration when Whiten is set (Hu,
	// "REINFORCE++", arXiv 2501.03262).
	EstimatorReinforce Estimator = "reinforce++"
)

// Critic reports whether the estimator needs values.
func (e Estimator) Critic() bool { return e == EstimatorGAE }

// Grouped reports whether the estimator compares the episodes of a group.
func (e Estimator) Grouped() bool { return e == EstimatorGRPO || e == EstimatorRLOO }

// Credit says which attempts answer for which outcomes.
type Credit string

// The kinds of credit.
const (
	CreditEpisode Credit = "episode" // one reward for all attempts of an episode, on its last sampled token (the paper)
	// CreditAttempt rewards each attempt for its own outcome, on its last sampled token; what later attempts earn counts
	// AttemptGamma as much from one attempt to the one before (returns by turn: Zhou et al., "ArCHer", arXiv 2402.19446).
	CreditAttempt Credit = "attempt"
)

// Advantage says how tokens are credited with rewards.
type Advantage struct {
	Estimator Estimator `json:"estimator"`
	Gamma     float64   `json:"gamma"`  // per-token discount
	Lambda    float64   `json:"lambda"` // GAE's λ
	Whiten    bool      `json:"whiten"` // (A − mean)/sqrt(max(var, 1e-8)) over all sampled tokens of the iteration
	// GroupStd divides GRPO's advantages by the group's standard deviation; without it they are those of Dr. GRPO (Liu et
	// al., "Understanding R1-Zero-Like Training", arXiv 2503.20783).
	GroupStd bool `json:"group_std"`
	// DropEqualGroups leaves out groups whose rewards are all equal and which teach nothing by comparison: dynamic sampling
	// without a refill (Yu et al., "DAPO", arXiv 2503.14476).
	DropEqualGroups bool   `json:"drop_equal_groups"`
	Credit          Credit `json:"credit"`
	// AttemptGamma is the discount from one attempt to the one before, with CreditAttempt; 0: each for itself.
	AttemptGamma float64 `json:"attempt_gamma"`
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
	AggregateTokens   Aggregation = "token_mean"   // mean over all sampled tokens of the minibatch (DAPO, arXiv 2503.14476)
	AggregateEpisodes Aggregation = "episode_mean" // mean of per-episode means (GRPO, arXiv 2402.03300)
	// AggregateConstant is the mean over episodes of Σ/AggregationLength: a token weighs the same in short and long episodes
	// of whatever minibatch (Dr. GRPO, arXiv 2503.20783).
	AggregateConstant Aggregation = "constant_length"
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
	Minibatch  int `json:"minibatch"`  // episodes of one optimiser step
	Microbatch int `json:"microbatch"` // episodes of the greatest length in one forward and backward pass; never changes the result beyond rounding
	Epochs     int `json:"epochs"`     // passes over the iteration's episodes
	// StopKL ends an iteration's optimiser steps after the first one whose minibatch shows a mean divergence (k3, per token)
	// from the policy before the update above it; 0 is off.
	StopKL float64 `json:"stop_kl"`
	Clip   float64 `json:"clip"` // ε of the policy ratio
	// ClipHigh is the ε above 1, when it is another than that below (clip-higher: Yu et al., "DAPO", arXiv 2503.14476); 0
	// means Clip.
	ClipHigh    float64     `json:"clip_high"`
	ValueClip   float64     `json:"value_clip"`   // of the value around its old value
	ValueWeight float64     `json:"value_weight"` // weight of the value loss, which itself carries the factor 0.5; 0: no critic
	KL          KLPlace     `json:"kl"`
	KLEstimator KLEstimator `json:"kl_estimator"`
	// KLCoefficient is β, the weight of the divergence, or where it starts when KLTarget is set.
	KLCoefficient float64 `json:"kl_coefficient"`
	// KLTarget, unless 0, is the mean divergence (k3, per token) that β is steered to: after each iteration of n episodes, β
	// is multiplied by 1 + clip(KL/KLTarget − 1, ±0.2)·n/KLHorizon (Ziegler et al., arXiv 1909.08593, §2.2).
	KLTarget          float64     `json:"kl_target"`
	KLHorizon         float64     `json:"kl_horizon"` // episodes
	Entropy           float64     `json:"entropy"`    // weight of an entropy bonus (Mnih et al., arXiv 1602.01783)
	Aggregation       Aggregation `json:"aggregation"`
	AggregationLength int         `json:"aggregation_length"` // tokens, of AggregateConstant
	OldLogProbs       OldLogProbs `json:"old_log_probs"`
	ImportanceClip    float64     `json:"importance_clip"` // upper bound of the sampler/trainer weight with OldSampling
}

// Critic reports whether the update trains a critic.
func (u Update) Critic() bool { return u.ValueWeight > 0 }

// Adaptive reports whether the coefficient of the divergence is steered.
func (u Update) Adaptive() bool { return u.KLTarget > 0 }

// Upper is the ε of the policy ratio above 1.
func (u Update) Upper() float64 {
	if u.ClipHigh > 0 {
		return u.ClipHigh
	}
	return u.Clip
}
