package cli

import (
	"encoding/json"
	"errors"

	"github.com/spf13/cobra"

	"multiattempt/internal/engine"
	"multiattempt/internal/nn"
	"multiattempt/internal/printable"
	"multiattempt/internal/spec"
)

const logprobsHelp = `Say how probable a model finds given tokens.

Reads JSON lines from FILE or standard input, each with "id" and "input_ids", and writes one JSON line for each, in the
same order, with "id" and "logprobs": natural logarithms, float32, one fewer than tokens; logprobs[t] is
log p(input_ids[t+1] | input_ids[..t]).

A line that cannot be used is named with its number; the others are done all the same, and the exit code is 2.

` + modelNames

// logprobsRequest is a line of input.
type logprobsRequest struct {
	ID  rawID   `json:"id"`
	IDs []int32 `json:"input_ids"`
}

// logprobsReply is a line of output.
type logprobsReply struct {
	ID       rawID     `json:"id"`
	LogProbs []float32 `json:"logprobs"` // [T-1]
}

// scoredLines is the number of lines that are scored at once.
const scoredLines = 256

func (a *app) newLogprobs() *cobra.Command {
	var model string
	var compute spec.Compute
	cmd := &cobra.Command{
		Use:     "logprobs [FILE]",
		Short:   "Say how probable a model finds given tokens",
		Long:    logprobsHelp,
		Example: `  echo '{"id":1,"input_ids":[1,5,7]}' | multiattempt logprobs --model models/SmolLM2-135M-Instruct`,
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if err := checkCompute(compute); err != nil {
				return err
			}
			in, err := inputOf(cmd, args)
			if err != nil {
				return err
			}
			defer in.Close() //nolint:errcheck // only read from
			return a.withWeights(cmd, model, scoring(compute), func(d *device) error {
				scorer, err := engine.NewScorer(d.Backend, d.model, engine.ScorerOptions{Compute: compute, MaxBytes: d.capacity})
				if err != nil {
					return err
				}
				defer scorer.Close()
				if err := d.model.Close(); err != nil { // the weights live on the device from here on
					return err
				}
				parse := func(line []byte) (logprobsRequest, error) { return parseLogprobs(line, scorer) }
				out := json.NewEncoder(printable.JSON(a.stdout))
				return batches(in, a.stderr, scoredLines, parse, func(batch []logprobsRequest) error {
					rows := make([][]int32, len(batch))
					for i, r := range batch {
						rows[i] = r.IDs
					}
					scores, err := scorer.LogProbs(cmd.Context(), rows)
					if err != nil {
						return err
					}
					for i, r := range batch {
						if err := out.Encode(logprobsReply{r.ID, scores[i]}); err != nil {
							return err
						}
					}
					return nil
				})
			})
		},
	}
	cmd.Flags().StringVar(&model, "model", "", "the model")
	addCompute(cmd.Flags(), &compute)
	mustRequire(cmd, "model")
	return cmd
}

// scoring is at least a row of two tokens: the true ones are read later.
func scoring(compute spec.Compute) work {
	return work{
		what: "scoring a row",
		least: func(c nn.Config) (engine.Estimate, error) {
			return engine.PlanScorer(c, 1, 2, engine.ScorerOptions{Compute: compute}), nil
		},
		advice: "shorten the rows, set --compute bfloat16, or choose a smaller model",
	}
}

func parseLogprobs(line []byte, scorer *engine.Scorer) (logprobsRequest, error) {
	var r logprobsRequest
	if err := strictly(line, &r); err != nil {
		return r, err
	}
	if r.ID == nil {
		return r, errors.New(`"id" is missing`)
	}
	return r, scorer.Check(r.IDs)
}

// mustRequire marks flags that the command defines as required.
func mustRequire(cmd *cobra.Command, flags ...string) {
	for _, f := range flags {
		if err := cmd.MarkFlagRequired(f); err != nil {
			panic(err) // the command has no such flag
		}
	}
}
