package update

import "context"

// Example is one dialogue to imitate. Arrays are [T].
type Example struct {
	Tokens []int32
	Mask   []bool // tokens whose cross-entropy counts
}

// ImitationStats are the facts of one supervised step.
type ImitationStats struct {
	Loss     float64 `json:"loss_mean_per_token"` // nats
	GradNorm float64 `json:"grad_norm"`
	Tokens   int     `json:"tokens"` // masked in
}

// Imitator is the supervised counterpart of Learner: it minimises cross-entropy on masked tokens.
type Imitator interface {
	Step(ctx context.Context, batch []Example, lr float64) (ImitationStats, error)
	WritePolicy(ctx context.Context, dir string) error
	WriteState(ctx context.Context, dir string) error
	Close() error
}
