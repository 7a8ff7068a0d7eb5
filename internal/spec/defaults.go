package spec

// The words of the paper's dialogues (Chung, Du and Fu, arXiv 2503.04808).
const (
	paperSystem         = `Please reason step by step, and put your final answer within \boxed{}. You have {N} attempts to answer the questions, and you should provide the full reasoning steps in each attempt.`
	paperSystemSingle   = `Please reason step by step, and put your final answer within \boxed{}.`
	paperFeedback       = `Your answer is incorrect. You have {n} attempts left. Try an alternative.`
	paperSystemRepeat   = `Please reason step by step, and put your final answer within \boxed{}. You have {N} attempts to answer the questions.`
	paperFeedbackRepeat = `Your answer is incorrect. Try an alternative. You have {n} attempts to answer the question.`
)

// Default returns the settings a run has when nothing else is said: the paper's algorithm, on the built-in model and the
// generated sums with a smudged digit.
func Default() Run {
	return Run{
		Seed:       1,
		Iterations: 1280, // 160 passes of 8 batches of 1,024 problems
		Model:      Model{Source: "builtin:smudged-base", Compute: ComputeFloat32},
		Data:       Data{Train: "smudged", ProblemsPerStep: 1024, GroupSize: 1, ShardSize: 128},
		Attempts: Attempts{
			Min: 1, Max: 5,
			Stop: StopTurn, StopEvery: 64,
			Budget: BudgetShared, MaxNewTokens: 3000,
		},
		Prompt:   defaultPrompt(),
		Sampling: Sampling{Temperature: 1, TopP: 1},
		Grading:  Grading{Mode: "typed"},
		Reward: Reward{
			Source: RewardOutcomes, BatchSize: 64, TimeoutSeconds: 30, Tries: 3, Header: "Authorization",
			Correct: 1, Wrong: -0.5, NoAnswer: -1, Discount: 1,
		},
		Advantage: Advantage{
			Estimator: EstimatorGAE, Gamma: 1, Lambda: 0.99, Whiten: true, GroupStd: true,
			Credit: CreditEpisode, AttemptGamma: 1,
		},
		Update: Update{
			Minibatch: 128, Microbatch: 8, Epochs: 1,
			Clip: 0.2, ValueClip: 0.2, ValueWeight: 1,
			KL: KLInLoss, KLEstimator: KLK3, KLCoefficient: 0.01, KLHorizon: 10000,
			Aggregation: AggregateTokens,
			OldLogProbs: OldRecomputed, ImportanceClip: 2,
		},
		Optimizer: Optimizer{
			PolicyLR: 5e-7, CriticLR: 1e-5,
			Beta1: 0.9, Beta2: 0.95, Epsilon: 1e-8,
			ClipNorm: 1, WarmupFraction: 0.03, FinalFraction: 0.1,
		},
		LoRA:       LoRAs{Policy: defaultLoRA(), Critic: defaultLoRA()},
		Checkpoint: Checkpoint{Every: 8, Keep: 3, Best: "accuracy"},
		Evaluation: Evaluation{
			Every: 8, Sets: []string{"smudged"}, Limit: 1000,
			Attempts: []int{1}, Final: []int{1, 2, 3, 4, 5, 6, 7},
			MaxNewTokens: 3000, TopP: 1, Samples: 1, ShardSize: 128,
			ParallelTemperature: 1,
		},
		Record: Record{TokenScores: true},
	}
}

// DefaultFinetune returns the settings of supervised fine-tuning when nothing else is said: a small random model that
// imitates generated dialogues of the smudged-digit task.
func DefaultFinetune() Finetune {
	return Finetune{
		Seed:         1,
		Steps:        3000,
		StepsPerPart: 250,
		Model:        Model{Source: SourceRandom, Compute: ComputeFloat32},
		Architecture: Architecture{
			HiddenSize: 64, IntermediateSize: 256, Layers: 2, Heads: 4, KVHeads: 4,
			MaxPositions: 256, RopeTheta: 10000,
		},
		Data:   TuningData{Source: "smudged", BatchSize: 256, MaxAttempts: 5, Stubborn: 0.6},
		Prompt: defaultPrompt(),
		Optimizer: Optimizer{
			PolicyLR: 1e-3,
			Beta1:    0.9, Beta2: 0.95, Epsilon: 1e-8,
			ClipNorm: 1, WarmupFraction: 0.03, FinalFraction: 0.1,
		},
		LoRA:       defaultLoRA(),
		Microbatch: 256,
	}
}

// defaultLoRA has no adapters; who sets a rank gets one on every linear map.
func defaultLoRA() LoRA { return LoRA{Alpha: 32, Targets: LinearModules()} }

func defaultPrompt() Prompt {
	return Prompt{
		System:         paperSystem,
		SystemSingle:   paperSystemSingle,
		Feedback:       paperFeedback,
		FeedbackRole:   "system",
		SystemRepeat:   paperSystemRepeat,
		FeedbackRepeat: paperFeedbackRepeat,
	}
}
