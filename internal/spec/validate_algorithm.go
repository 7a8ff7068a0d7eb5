package spec

import (
	"math"
	"net"
	"net/url"
	"slices"
	"strings"
)

// Sources of rewards.
const (
	RewardOutcomes = "outcomes" // as Reward.Source: Reward's own numbers
	RewardGo       = "go:"      // prefix of a reward that the program was built with
)

// Endpoint reports whether rewards are asked for over HTTP.
func (r Reward) Endpoint() bool {
	return strings.HasPrefix(r.Source, "http://") || strings.HasPrefix(r.Source, "https://")
}

func (r Reward) check(c *checker) {
	name, compiled := strings.CutPrefix(r.Source, RewardGo)
	u, err := url.Parse(r.Source)
	known := r.Source == RewardOutcomes || compiled && name != "" || r.Endpoint() && err == nil && u.Host != "" && u.User == nil
	c.want(known, "reward.source", r.Source, `"outcomes", the address of an HTTP endpoint (without a password), or "go:NAME"`)
	c.between("reward.batch_size", r.BatchSize, 1, maxEpisodes)
	c.want(0 < r.TimeoutSeconds && r.TimeoutSeconds <= 3600, "reward.timeout_seconds", r.TimeoutSeconds, "above 0, at most 3600")
	c.between("reward.tries", r.Tries, 1, 100)
	r.checkSecret(c, u)
	c.finite("reward.correct", r.Correct)
	c.finite("reward.wrong", r.Wrong)
	c.finite("reward.no_answer", r.NoAnswer)
	c.want(0 < r.Discount && r.Discount <= 1, "reward.discount", r.Discount, "above 0, at most 1 (off)")
	c.atLeastZero("reward.repeat_penalty", r.RepeatPenalty)
}

// Places of an endpoint's secret.
const (
	SecretVariable = "env:"  // prefix of Reward.Secret: a variable
	SecretFile     = "file:" // prefix of Reward.Secret: a file
	// SecretPrefix begins the names of variables that a run may have sent: not every variable of a worker is for everybody
	// who may start a run.
	SecretPrefix = "REWARD_"
)

// checkSecret requires the place of a secret, and keeps what may be one itself out of messages.
func (r Reward) checkSecret(c *checker, source *url.URL) {
	c.want(isToken(r.Header), "reward.header", r.Header, "a header's name")
	if r.Secret == "" {
		return
	}
	variable, isVariable := strings.CutPrefix(r.Secret, SecretVariable)
	file, isFile := strings.CutPrefix(r.Secret, SecretFile)
	placed := isVariable && len(variable) > len(SecretPrefix) && strings.HasPrefix(variable, SecretPrefix) && isToken(variable) ||
		isFile && file != "" && !strings.ContainsAny(file, `/\`) && strings.Trim(file, ".") != ""
	c.want(placed, "reward.secret", nil, `"env:%sNAME" or "file:NAME" (in the worker's rewards.secrets_dir), never the secret itself`, SecretPrefix)
	c.want(r.Endpoint(), "reward.secret", nil, "only with an HTTP endpoint as reward.source")
	if r.Endpoint() && source != nil {
		host := source.Hostname()
		local := host == "localhost" || net.ParseIP(host).IsLoopback()
		c.want(source.Scheme == "https" || local, "reward.source", r.Source, "https://… with reward.secret, unless it is on this machine: the secret would travel in the open")
	}
}

// isToken reports whether s may be the name of a header (RFC 9110) or, in capitals, of a variable.
func isToken(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == ""
}

var estimators = []Estimator{EstimatorGAE, EstimatorGRPO, EstimatorRLOO, EstimatorReinforce}

func (a Advantage) check(c *checker) {
	oneOf(c, "advantage.estimator", a.Estimator, estimators...)
	oneOf(c, "advantage.credit", a.Credit, CreditEpisode, CreditAttempt)
	c.share("advantage.gamma", a.Gamma)
	c.share("advantage.lambda", a.Lambda)
	c.share("advantage.attempt_gamma", a.AttemptGamma)
}

func (u Update) check(c *checker, episodes int) {
	c.want(1 <= u.Minibatch && u.Minibatch <= episodes && episodes%u.Minibatch == 0, "update.minibatch", u.Minibatch,
		"a divisor of the iteration's episodes (problems_per_step × group_size = %d)", episodes)
	c.want(1 <= u.Microbatch && u.Microbatch <= u.Minibatch, "update.microbatch", u.Microbatch,
		"from 1 to update.minibatch (%d)", u.Minibatch)
	c.between("update.epochs", u.Epochs, 1, 100)
	c.atLeastZero("update.stop_kl", u.StopKL)
	c.want(0 < u.Clip && u.Clip < 1, "update.clip", u.Clip, "above 0, below 1")
	c.want(u.ClipHigh == 0 || u.ClipHigh >= u.Clip && !math.IsInf(u.ClipHigh, 0), "update.clip_high", u.ClipHigh,
		"0 (as update.clip) or at least update.clip (%g)", u.Clip)
	c.positive("update.value_clip", u.ValueClip)
	c.atLeastZero("update.value_weight", u.ValueWeight)
	u.checkDivergence(c, episodes)
	c.atLeastZero("update.entropy", u.Entropy)
	oneOf(c, "update.aggregation", u.Aggregation, AggregateTokens, AggregateEpisodes, AggregateConstant)
	c.want(u.Aggregation != AggregateConstant || 1 <= u.AggregationLength && u.AggregationLength <= maxTokens, "update.aggregation_length",
		u.AggregationLength, "a number of tokens, at least 1, with update.aggregation constant_length")
	c.want(u.Aggregation == AggregateConstant || u.AggregationLength == 0, "update.aggregation_length", u.AggregationLength,
		"0: only update.aggregation constant_length has a length")
	oneOf(c, "update.old_log_probs", u.OldLogProbs, OldRecomputed, OldSampling)
	c.want(u.ImportanceClip >= 1 && !math.IsInf(u.ImportanceClip, 0), "update.importance_clip", u.ImportanceClip, "at least 1")
}

func (u Update) checkDivergence(c *checker, episodes int) {
	oneOf(c, "update.kl", u.KL, KLInLoss, KLInReward, KLNone)
	oneOf(c, "update.kl_estimator", u.KLEstimator, KLK1, KLK2, KLK3)
	c.want(u.KL != KLInLoss || u.KLEstimator != KLK1, "update.kl_estimator", string(u.KLEstimator),
		"k2 or k3 in the loss: the expected on-policy gradient of k1 is zero there")
	c.atLeastZero("update.kl_coefficient", u.KLCoefficient)
	c.atLeastZero("update.kl_target", u.KLTarget)
	c.want(!u.Adaptive() || u.KL != KLNone, "update.kl_target", u.KLTarget, "0 with update.kl none: there is no coefficient to steer")
	c.want(!u.Adaptive() || u.KLCoefficient != 0, "update.kl_coefficient", u.KLCoefficient,
		"above 0 with update.kl_target: it is steered by factors and would stay 0")
	c.positive("update.kl_horizon", u.KLHorizon)
	c.want(!u.Adaptive() || u.KLHorizon >= float64(episodes), "update.kl_horizon", u.KLHorizon,
		"at least the iteration's episodes (%d), as update.kl_target steers after each", episodes)
}

// checkAlgorithm refuses settings that contradict each other.
func (r Run) checkAlgorithm(c *checker) {
	r.checkEstimator(c)
	a := r.Advantage
	c.want(!a.DropEqualGroups || r.Data.GroupSize >= 2, "advantage.drop_equal_groups", a.DropEqualGroups,
		"false with data.group_size %d: a group of one is always equal to itself", r.Data.GroupSize)
	c.want(a.AttemptGamma == 1 || a.Credit != CreditEpisode, "advantage.attempt_gamma", a.AttemptGamma,
		"1 with advantage.credit %s: there is one return for all attempts", string(a.Credit))
	r.Prompt.checkHints(c, r.Data.FieldHint)
}

// checkEstimator refuses what an estimator has no use for.
func (r Run) checkEstimator(c *checker) {
	a, name := r.Advantage, string(r.Advantage.Estimator)
	if !slices.Contains(estimators, a.Estimator) {
		return // refused already
	}
	critic := a.Estimator.Critic()
	c.want(critic || r.Update.ValueWeight == 0, "update.value_weight", r.Update.ValueWeight,
		"0 with advantage.estimator %s, which has no critic: no value loss without one", name)
	c.want(!critic || r.Update.ValueWeight > 0, "update.value_weight", r.Update.ValueWeight,
		"a number above 0 with advantage.estimator %s: its values come from a critic", name)
	c.want(critic || r.CriticWarmup == 0, "critic_warmup", r.CriticWarmup, "0 with advantage.estimator %s, which has no critic", name)
	c.want(critic || !r.LoRA.Critic.Enabled(), "lora.critic.rank", r.LoRA.Critic.Rank, "0 with advantage.estimator %s, which has no critic", name)
	if a.Estimator.Grouped() {
		c.want(r.Data.GroupSize >= 2, "data.group_size", r.Data.GroupSize,
			"at least 2 with advantage.estimator %s: an episode is compared with others of its group", name)
		c.want(a.Gamma == 1, "advantage.gamma", a.Gamma, "1 with advantage.estimator %s, whose returns do not depend on the token", name)
	}
	c.want(!a.Whiten || a.Estimator != EstimatorGRPO, "advantage.whiten", a.Whiten,
		"false with advantage.estimator grpo: advantages are normalised by group")
}
