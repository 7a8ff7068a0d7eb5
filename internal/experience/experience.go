// Package experience turns episodes, rewards and scores into what an optimiser step needs: advantages, returns, masks.
package experience

// Scores are what the learner's networks say of one episode before the update. Arrays have one entry per token of the
// episode, [T]; entry t belongs to token t given tokens 0…t−1, entries where the mask is false are ignored.
type Scores struct {
	Old    []float32 // log-probability under the policy
	Ref    []float32 // log-probability under the frozen reference
	Values []float32 // the critic's output at position t−1, before token t is written; nil without a critic
}

// Row is one episode, ready to train on. All arrays are [T].
type Row struct {
	Tokens     []int32
	Mask       []bool    // sampled tokens
	Old        []float32 // denominator of the policy ratio, log-probability
	Ref        []float32 // reference log-probability
	Advantages []float32 // whitened when the spec says so; 0 where Mask is false
	Returns    []float32 // unwhitened advantage + old value; 0 where Mask is false; nil without a critic
	Values     []float32 // old values; nil without a critic
	// KLCoefficient weighs the divergence from the reference in the row's loss; 0 when it is not there.
	KLCoefficient float64
	// Weights are importance weights of the token's loss (truncated sampler/trainer correction); nil means 1.
	Weights []float32
}

// Batch is an iteration's experience.
type Batch struct {
	Rows []Row
	// Facts about the batch, each over sampled tokens unless the name says otherwise.
	TokensTrained     int
	AdvantageMean     float64 // before whitening
	AdvantageStd      float64 // population, before whitening
	ReturnMean        float64 // 0 without a critic, as are the next two
	ValueMean         float64
	ExplainedVariance float64 // of returns by old values: 1 − var(R − V)/var(R)
	KLMeanPerToken    float64 // k3 of policy before the update against the reference
	MismatchMeanAbs   float64 // |log-prob sampled − recomputed|
	MismatchMax       float64
	// Of the importance weights; 0 without them.
	WeightMean      float64
	WeightTruncated float64 // share of tokens whose weight was cut to its upper bound
	// AttemptsWithoutPeers are attempts that no other episode of their group made and that got the advantage 0 for that.
	AttemptsWithoutPeers int
}
