package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/spf13/cobra"

	"multiattempt/internal/chat"
	"multiattempt/internal/engine"
	"multiattempt/internal/nn"
	"multiattempt/internal/policy"
	"multiattempt/internal/printable"
	"multiattempt/internal/seed"
	"multiattempt/internal/spec"
)

const generateHelp = `Sample answers of a model.

Reads JSON lines from FILE or standard input. Each has "id" and one of
  "prompt"     a user's turn, written in the model's chat template (with --raw: text, as it is)
  "messages"   a dialogue, [{"role", "content"}, …], written in the chat template
  "input_ids"  tokens
and writes JSON lines in the same order, --samples for each:
  id, sample, text, output_ids, logprobs (of each output token, at temperature 1), finish_reason (stop | length)

An answer ends with its end-of-turn token (stop), after --max-new-tokens, or where the model's context ends (length). Draws
are a function of --seed, the line's number among all lines, the sample's number and the position: repeated, the command
writes the same. A line that cannot be used is named with its number; the others are done, and the exit code is 2.

` + modelNames

// generation are the command's options.
type generation struct {
	model, system string
	raw           bool
	samples       int
	maxNew        int
	together      int // answers decoded together; 0 chooses
	seed          uint64
	params        policy.Params
	compute       spec.Compute
}

// generateRequest is a line of input.
type generateRequest struct {
	ID       rawID          `json:"id"`
	Prompt   *string        `json:"prompt"`
	Messages []chat.Message `json:"messages"`
	IDs      []int32        `json:"input_ids"`

	number int // of the line among all that can be used
}

// generateReply is a line of output.
type generateReply struct {
	ID       rawID     `json:"id"`
	Sample   int       `json:"sample"`
	Text     string    `json:"text"`
	IDs      []int32   `json:"output_ids"`
	LogProbs []float32 `json:"logprobs"`
	Finish   string    `json:"finish_reason"`
}

// generatedLines is the number of lines whose answers are sampled together.
const generatedLines = 1024

func (a *app) newGenerate() *cobra.Command {
	var g generation
	cmd := &cobra.Command{
		Use:   "generate [FILE]",
		Short: "Sample answers of a model",
		Long:  generateHelp,
		Example: `  echo '{"id":1,"prompt":"What is 2+2?"}' | multiattempt generate --model hf:HuggingFaceTB/SmolLM2-135M-Instruct
  multiattempt generate --model run:my-run --temperature 1 --samples 8 questions.jsonl > answers.jsonl`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := g.check(); err != nil {
				return err
			}
			in, err := inputOf(cmd, args)
			if err != nil {
				return err
			}
			defer in.Close() //nolint:errcheck // only read from
			return a.withWeights(cmd, g.model, g.work(), func(d *device) error { return a.generate(cmd, g, in, d) })
		},
	}
	f := cmd.Flags()
	f.StringVar(&g.model, "model", "", "the model")
	f.StringVar(&g.system, "system", "", "a system turn before every \"prompt\"")
	f.BoolVar(&g.raw, "raw", false, "take \"prompt\" as text, without the chat template")
	f.IntVar(&g.samples, "samples", 1, "answers to each line")
	f.IntVar(&g.maxNew, "max-new-tokens", 512, "the most tokens of an answer")
	f.IntVar(&g.together, "batch-size", 0, "the most answers sampled together; 0 chooses by the size of their key-value cache")
	f.Uint64Var(&g.seed, "seed", 1, "seed of every draw")
	addSampling(f, &g.params)
	addCompute(f, &g.compute)
	mustRequire(cmd, "model")
	return cmd
}

func (g generation) check() error {
	switch {
	case g.samples < 1:
		return usage("--samples is %d, must be at least 1", g.samples)
	case g.maxNew < 1:
		return usage("--max-new-tokens is %d, must be at least 1", g.maxNew)
	case g.together < 0:
		return usage("--batch-size is %d, must be 0 (automatic) or positive", g.together)
	case g.samples > 1 && g.params.Temperature == 0:
		return usage("--samples is %d, but at temperature 0 all answers are equal; set --temperature", g.samples)
	case g.raw && g.system != "":
		return usage("--raw and --system exclude each other")
	}
	return errors.Join(checkSampling(g.params), checkCompute(g.compute))
}

// work is at least the answers to one line, with a prompt of one token: the true prompts are read later.
func (g generation) work() work {
	return work{
		what: "sampling an answer", talks: true,
		least: func(c nn.Config) (engine.Estimate, error) {
			return engine.PlanSampler(c, g.samples, min(c.MaxPositions, 1+g.maxNew), engine.SamplerOptions{Compute: g.compute, Slots: g.together})
		},
		advice: "make --batch-size or --max-new-tokens smaller, set --compute bfloat16, or choose a smaller model",
	}
}

// generate answers every line of in.
func (a *app) generate(cmd *cobra.Command, g generation, in io.Reader, d *device) error {
	sampler, err := engine.NewSampler(d.Backend, d.model, engine.SamplerOptions{Compute: g.compute, Slots: g.together, MaxBytes: d.capacity})
	if err != nil {
		return err
	}
	defer sampler.Close()
	if err := d.model.Close(); err != nil { // the weights live on the device from here on
		return err
	}
	template, limit, vocabulary, numbered := d.template, d.model.Config.MaxPositions, d.model.Config.VocabSize, 0
	parse := func(line []byte) (generateRequest, error) {
		r, err := g.parse(line, template)
		if err == nil {
			err = checkPrompt(r.IDs, limit, vocabulary)
		}
		if err == nil {
			r.number = numbered
			numbered++
		}
		return r, err
	}
	out := json.NewEncoder(printable.JSON(a.stdout))
	out.SetEscapeHTML(false)
	return batches(in, a.stderr, generatedLines, parse, func(batch []generateRequest) error {
		rows, longest := g.rows(batch, template, limit)
		params := g.params
		params.MaxLength = longest
		replies := inOrder{rows: rows, out: out, template: template}
		for _, r := range rows {
			r.finished = replies.flush
		}
		if err := sampler.Sample(cmd.Context(), policyRows(rows), params, nil); err != nil {
			return err
		}
		return replies.err
	})
}

// parse reads a line and turns it into tokens.
func (g generation) parse(line []byte, template *chat.Template) (generateRequest, error) {
	var r generateRequest
	if err := strictly(line, &r); err != nil {
		return r, err
	}
	given := 0
	for _, is := range []bool{r.Prompt != nil, r.Messages != nil, r.IDs != nil} {
		if is {
			given++
		}
	}
	if r.ID == nil || given != 1 {
		return r, errors.New(`expected "id" and exactly one of "prompt", "messages" and "input_ids"`)
	}
	var err error
	switch {
	case r.Prompt != nil && *r.Prompt == "":
		return r, errors.New(`"prompt" is empty`)
	case r.Prompt != nil && g.raw:
		r.IDs, err = template.Encode(*r.Prompt)
	case r.Prompt != nil:
		messages := []chat.Message{{Role: "user", Content: *r.Prompt}}
		if g.system != "" {
			messages = append([]chat.Message{{Role: "system", Content: g.system}}, messages...)
		}
		r.IDs, err = template.Opening(messages)
	case r.Messages != nil:
		r.IDs, err = template.Opening(r.Messages)
	}
	return r, err
}

// checkPrompt refuses tokens that leave no room for an answer, or that the model does not know.
func checkPrompt(ids []int32, limit, vocabulary int) error {
	if len(ids) == 0 {
		return errors.New("the prompt is empty; expected at least 1 token")
	}
	if len(ids) >= limit {
		return fmt.Errorf("the prompt leaves no room for an answer: expected fewer than %d tokens (max_position_embeddings), found %d", limit, len(ids))
	}
	for t, id := range ids {
		if id < 0 || int(id) >= vocabulary {
			return fmt.Errorf("token %d: expected an id below %d (vocab_size), found %d", t, vocabulary, id)
		}
	}
	return nil
}

// rows are the answers to sample, samples of a line together, and the most tokens that any of them will hold.
func (g generation) rows(batch []generateRequest, template *chat.Template, limit int) (rows []*answerRow, longest int) {
	ends := map[int32]bool{}
	for _, id := range template.EndOfTurn() {
		ends[id] = true
	}
	for _, r := range batch {
		most := min(limit, len(r.IDs)+g.maxNew)
		longest = max(longest, most)
		for s := range g.samples {
			rows = append(rows, &answerRow{
				request: r, sample: s, ends: ends, most: most - len(r.IDs), seed: [3]uint64{g.seed, uint64(r.number), uint64(s)},
			})
		}
	}
	return rows, longest
}

func policyRows(rows []*answerRow) []policy.Row {
	list := make([]policy.Row, len(rows))
	for i, r := range rows {
		list[i] = r
	}
	return list
}

// answerRow is one answer while it is being sampled.
type answerRow struct {
	request  generateRequest
	sample   int
	ends     map[int32]bool
	most     int // tokens
	seed     [3]uint64
	started  bool
	finish   string // empty: not yet
	ids      []int32
	logProbs []float32
	finished func()
}

// Next implements policy.Row.
func (r *answerRow) Next() policy.Action {
	switch {
	case !r.started:
		r.started = true
		return policy.Action{Force: r.request.IDs}
	case r.finish == "":
		return policy.Action{}
	}
	r.finished()
	return policy.Action{Done: true}
}

// Uniform implements policy.Row.
func (r *answerRow) Uniform() float64 {
	return seed.Uniform("cli/generate", r.seed[0], r.seed[1], r.seed[2], uint64(len(r.ids)))
}

// Sampled implements policy.Row.
func (r *answerRow) Sampled(d policy.Draw) {
	r.ids, r.logProbs = append(r.ids, d.Token), append(r.logProbs, d.LogProb)
	switch {
	case r.ends[d.Token]:
		r.finish = "stop"
	case len(r.ids) >= r.most:
		r.finish = "length"
	}
}

// inOrder writes answers as soon as all before them are written.
type inOrder struct {
	rows     []*answerRow
	next     int
	out      *json.Encoder
	template *chat.Template
	err      error // the first of writing
}

func (o *inOrder) flush() {
	for ; o.next < len(o.rows) && o.rows[o.next].finish != ""; o.next++ {
		r := o.rows[o.next]
		reply := generateReply{
			ID: r.request.ID, Sample: r.sample, Text: o.template.Decode(r.ids), IDs: r.ids, LogProbs: r.logProbs, Finish: r.finish,
		}
		if err := o.out.Encode(reply); err != nil && o.err == nil {
			o.err = fmt.Errorf("writing answers: %w", err)
		}
	}
}

// addSampling registers the flags that shape the sampling distribution.
func addSampling(f flagSet, p *policy.Params) {
	f.Float64Var(&p.Temperature, "temperature", 0, "0 is greedy")
	f.Float64Var(&p.TopP, "top-p", 1, "draw from the likeliest tokens of this share; 1 is off")
	f.IntVar(&p.TopK, "top-k", 0, "draw from so many likeliest tokens; 0 is off")
	f.Float64Var(&p.MinP, "min-p", 0, "leave out what is less likely than this share of the likeliest token; 0 is off")
	f.IntVar(&p.NoRepeat, "no-repeat-ngram-size", 0, "never repeat a sequence of so many tokens, prompt included; 0 is off")
}

// flagSet is what addSampling needs of a command's flags.
type flagSet interface {
	Float64Var(p *float64, name string, value float64, usage string)
	IntVar(p *int, name string, value int, usage string)
	StringVar(p *string, name, value, usage string)
}

// addCompute registers the flag for the type that a model computes in.
func addCompute(f flagSet, c *spec.Compute) {
	f.StringVar((*string)(c), "compute", string(spec.ComputeFloat32), "float32, or bfloat16: half the memory, and faster on a GPU; no faster on a CPU")
}

func checkCompute(c spec.Compute) error {
	if c != spec.ComputeFloat32 && c != spec.ComputeBFloat16 {
		return usage("--compute is %q, must be %s or %s", c, spec.ComputeFloat32, spec.ComputeBFloat16)
	}
	return nil
}

// checkSampling refuses parameters outside their range.
func checkSampling(p policy.Params) error {
	switch {
	case !(p.Temperature >= 0) || math.IsInf(p.Temperature, 0):
		return usage("--temperature is %g, must be 0 (greedy) or positive", p.Temperature)
	case !(p.TopP > 0 && p.TopP <= 1):
		return usage("--top-p is %g, must be in (0, 1]", p.TopP)
	case p.TopK < 0:
		return usage("--top-k is %d, must be 0 (off) or positive", p.TopK)
	case !(p.MinP >= 0 && p.MinP <= 1):
		return usage("--min-p is %g, must be in [0, 1]", p.MinP)
	case p.NoRepeat < 0 || p.NoRepeat == 1:
		return usage("--no-repeat-ngram-size is %d, must be 0 (off) or at least 2", p.NoRepeat)
	}
	return nil
}
