// Package policy says what a sampler must do: drive a set of dialogues token by token, each of which knows what comes next.
package policy

import "context"

// Row is one dialogue as a sampler sees it. A sampler calls Next first; then it feeds the forced tokens to the model,
// draws one token with Uniform, reports it with Sampled, and asks Next again, until Next says the row is done.
// A row is used by one goroutine and once.
type Row interface {
	// Next says what is appended before the next draw. It is called once at the start (the prompt) and once after each
	// Sampled. Nothing forced and not done means: draw the next token. Done rows are never touched again.
	Next() Action
	// Uniform is the number in [0, 1) that decides the next draw; a function of the row's position in the run.
	Uniform() float64
	// Sampled tells the row the token that was drawn.
	Sampled(d Draw)
}

// Action is what a row wants next.
type Action struct {
	Force []int32 // tokens to append without drawing: prompt, feedback, forced end of turn
	Done  bool    // the dialogue is over; Force is empty then
}

// Draw is one sampled token.
type Draw struct {
	Token   int32
	LogProb float32 // log-probability under the model at temperature 1, nothing left out
	Sampled float32 // log-probability under the distribution it was drawn from; 0 when greedy
}

// Params shape the sampling distribution: temperature first, then top-k, of those top-p, of those min-p, as transformers'
// generate does. The draw with uniform u takes the first token, in ascending order of token
// ids, at which the cumulative probability exceeds u.
type Params struct {
	Temperature float64 // 0 is greedy (ties go to the smallest token id)
	TopP        float64 // (0, 1]; 1 is off
	TopK        int     // 0 is off
	MinP        float64 // [0, 1]: least probability as a share of the likeliest token's; 0 is off
	// NoRepeat forbids every token that would complete a sequence of so many tokens that the row holds already, prompt and
	// feedback included (transformers' no_repeat_ngram_size); 0 is off, 2 the least. It keeps greedy rows out of loops.
	NoRepeat  int
	MaxLength int // the most tokens any row will hold; rows promise not to go beyond it
}

// Sampler draws tokens from one fixed set of weights. The tokens of rows depend only on weights, rows (their order
// included) and params: a repeated call with equal rows gives equal tokens.
type Sampler interface {
	// Sample drives every row to its end. progress, when not nil, is called after each row that ends, and after each step of
	// the model that ends none, with the number ended so far. A cancelled ctx ends the call between two tokens.
	Sample(ctx context.Context, rows []Row, p Params, progress func(done int)) error
}
