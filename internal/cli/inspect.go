package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"multiattempt/internal/chat"
	"multiattempt/internal/engine"
	"multiattempt/internal/nn"
	"multiattempt/internal/spec"
)

// inspected is what is known of a model.
type inspected struct {
	Model        string           `json:"model"`
	Dir          string           `json:"dir"`
	Family       string           `json:"family"`
	Layers       int              `json:"layers"`
	HiddenSize   int              `json:"hidden_size"`
	Intermediate int              `json:"intermediate_size"`
	Heads        int              `json:"attention_heads"`
	KVHeads      int              `json:"key_value_heads"`
	HeadDim      int              `json:"head_dim"`
	Vocabulary   int              `json:"vocab_size"`
	Context      int              `json:"max_position_embeddings"`
	TiedHead     bool             `json:"tied_head"`
	QKVBias      bool             `json:"qkv_bias"`
	RopeTheta    float64          `json:"rope_theta"`
	RopeScaling  string           `json:"rope_scaling,omitempty"`
	Parameters   int64            `json:"parameters"`
	DTypes       map[string]int64 `json:"parameters_by_dtype"`
	WeightsError string           `json:"weights_error,omitempty"` // why the numbers cannot be used
	Template     templateFacts    `json:"chat_template"`
	Memory       samplingMemory   `json:"sampling_memory"`
	Scoring      scoringMemory    `json:"scoring_memory"`
	Training     []trainingMemory `json:"training_memory"`   // all weights; adapters
	Tuning       []trainingMemory `json:"finetuning_memory"` // all weights; adapters
	Files        []foundFile      `json:"files"`
}

// templateFacts say what a chat template can be used for.
type templateFacts struct {
	Usable    bool     `json:"usable"`
	Why       string   `json:"why,omitempty"` // it is not
	EndOfTurn []string `json:"end_of_turn,omitempty"`
	// Trims: it cuts off white space around what an assistant said.
	Trims bool `json:"trims_replies,omitempty"`
	// Feedback lists the roles in which an attempt may be called wrong.
	Feedback []string `json:"feedback_roles,omitempty"`
}

// samplingMemory is what it takes to sample, in bytes.
type samplingMemory struct {
	Rows    int   `json:"rows"`
	Tokens  int   `json:"tokens"` // of each row, prompt included
	Weights int64 `json:"weights_bytes"`
	Cache   int64 `json:"cache_bytes"`
	Step    int64 `json:"step_bytes"`
}

// scoringMemory is what it takes to score given tokens (logprobs), in bytes.
type scoringMemory struct {
	Rows    int   `json:"rows"`
	Tokens  int   `json:"tokens"` // of each row
	Weights int64 `json:"weights_bytes"`
	Step    int64 `json:"step_bytes"`
}

// trainingMemory is what it takes at most, in bytes, to train policy and critic by PPO, the rollouts included, or
// to fine-tune.
type trainingMemory struct {
	Rank        int   `json:"lora_rank"` // of adapters on every linear map of both networks; 0: all weights are trained
	Rows        int   `json:"microbatch"`
	Tokens      int   `json:"tokens"` // of each row
	Weights     int64 `json:"weights_bytes"`
	Optimizer   int64 `json:"optimizer_bytes"`
	Gradients   int64 `json:"gradients_bytes"`
	Activations int64 `json:"activations_bytes"`
	Total       int64 `json:"total_bytes"`
}

// Dialogues whose memory is estimated, and the rank of adapters.
const estimatedRows, estimatedTokens, estimatedRank = 16, 2048, 32

func estimate(c nn.Config, compute spec.Compute) (samplingMemory, error) {
	tokens := min(estimatedTokens, c.MaxPositions)
	plan, err := engine.PlanSampler(c, estimatedRows, tokens, engine.SamplerOptions{Compute: compute})
	return samplingMemory{Rows: plan.Slots, Tokens: tokens, Weights: plan.Weights, Cache: plan.Cache, Step: plan.Step}, err
}

// estimateTraining is for the settings of a run by default, but for the length of rows and how many are sampled together.
func estimateTraining(c nn.Config, compute spec.Compute) []trainingMemory {
	var list []trainingMemory
	for _, rank := range []int{0, estimatedRank} {
		run := spec.Default()
		run.Model.Compute = compute
		run.Data.ShardSize, run.Model.MaxLength = estimatedRows, estimatedTokens
		run.LoRA.Policy = spec.LoRA{Rank: rank, Alpha: 2 * float64(rank), Targets: spec.LinearModules()}
		run.LoRA.Critic = run.LoRA.Policy
		list = append(list, trainingOf(rank, run.Update.Microbatch, engine.PlanTraining(run, c)))
	}
	return list
}

// estimateTuning is for the settings of a fine-tuning by default, but for the length of dialogues.
func estimateTuning(c nn.Config, compute spec.Compute) []trainingMemory {
	var list []trainingMemory
	for _, rank := range []int{0, estimatedRank} {
		f := spec.DefaultFinetune()
		f.Model.Compute = compute
		f.LoRA = spec.LoRA{Rank: rank, Alpha: 2 * float64(rank), Targets: spec.LinearModules()}
		list = append(list, trainingOf(rank, f.Microbatch, engine.PlanTuning(f, c, estimatedTokens)))
	}
	return list
}

func trainingOf(rank, rows int, m engine.TrainingMemory) trainingMemory {
	return trainingMemory{
		Rank: rank, Rows: rows, Tokens: m.Length, Weights: m.Weights + m.Sampler.Weights, Optimizer: m.Optimizer,
		Gradients: m.Gradients, Activations: m.Activations, Total: m.Total(),
	}
}

// estimateScoring is for one row.
func estimateScoring(c nn.Config, compute spec.Compute) scoringMemory {
	m := engine.PlanScorer(c, 1, min(estimatedTokens, c.MaxPositions), engine.ScorerOptions{Compute: compute})
	return scoringMemory{Rows: m.Rows, Tokens: m.Length, Weights: m.Weights, Step: m.Step}
}

func (a *app) newModelInspect() *cobra.Command {
	var asJSON bool
	var compute spec.Compute
	cmd := &cobra.Command{
		Use:   "inspect MODEL",
		Short: "Say what a model is, and whether it can be used",
		Long: `Prints family, sizes, number of parameters, number types, files with their SHA-256, the memory that sampling, scoring,
training and fine-tuning take (all weights, or adapters), and whether dialogues of several attempts can be built with its chat template. All weights are read:
numbers that are not finite are found.

` + modelNames,
		Example: "  multiattempt model inspect hf:Qwen/Qwen2.5-0.5B-Instruct",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkCompute(compute); err != nil {
				return err
			}
			o, err := a.openModel(cmd.Context(), args[0], canCompute)
			if err != nil {
				return err
			}
			defer o.Close() //nolint:errcheck // a leftover in the temporary folder hurts nobody
			found, err := inspect(o, compute)
			if err != nil {
				return err
			}
			if asJSON {
				err = a.printJSON(found)
			} else {
				a.printInspected(found)
			}
			if err == nil && (found.WeightsError != "" || !found.Template.Usable) {
				err = usage("%s cannot be used: %s", args[0], strings.Join(slices.DeleteFunc([]string{found.WeightsError, found.Template.Why}, func(s string) bool { return s == "" }), "; "))
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	addCompute(cmd.Flags(), &compute)
	return cmd
}

// inspect reads a model's folder.
func inspect(o *opened, compute spec.Compute) (inspected, error) {
	s, err := engine.Inspect(o.Dir)
	if err != nil {
		return inspected{}, err
	}
	c := s.Config
	found := inspected{
		Model: o.Origin, Dir: o.Dir, Family: c.Architecture, Layers: c.Layers, HiddenSize: c.HiddenSize, Intermediate: c.IntermediateSize,
		Heads: c.Heads, KVHeads: c.KVHeads, HeadDim: c.HeadDim, Vocabulary: c.VocabSize, Context: c.MaxPositions, TiedHead: c.TieEmbeddings,
		QKVBias: c.AttentionBias, RopeTheta: c.RopeTheta, RopeScaling: scaling(c.RopeScaling), Parameters: s.Parameters, DTypes: s.DTypes,
		Template: inspectTemplate(o.Dir),
	}
	if err := engine.CheckFolder(o.Dir); err != nil {
		found.WeightsError = err.Error()
	}
	if found.Memory, err = estimate(c, compute); err != nil {
		return found, err
	}
	found.Scoring, found.Training, found.Tuning = estimateScoring(c, compute), estimateTraining(c, compute), estimateTuning(c, compute)
	found.Files, err = digests(o.Files)
	return found, err
}

// scaling describes a stretched rotary embedding.
func scaling(s nn.RopeScaling) string {
	if s.Type == "" {
		return ""
	}
	return fmt.Sprintf("%s ×%g", s.Type, s.Factor)
}

// inspectTemplate tries what a run does with a chat template.
func inspectTemplate(dir string) templateFacts {
	t, err := chat.Load(dir)
	if err != nil {
		return templateFacts{Why: err.Error()}
	}
	facts := templateFacts{Usable: true, Trims: t.Trims()}
	for _, id := range t.EndOfTurn() {
		facts.EndOfTurn = append(facts.EndOfTurn, t.Token(id))
	}
	for _, role := range []string{"system", "user"} {
		if _, err := t.TurnText([]chat.Message{{Role: role, Content: "Your answer is incorrect."}}); err == nil {
			facts.Feedback = append(facts.Feedback, role)
		}
	}
	return facts
}

func (a *app) printInspected(m inspected) {
	a.printf("Model       %s\n", m.Model)
	tied, bias := "its own head", ""
	if m.TiedHead {
		tied = "head tied to the embedding"
	}
	if m.QKVBias {
		bias = ", q/k/v bias"
	}
	a.printf("Family      %s, %s%s\n", m.Family, tied, bias)
	a.printf("Sizes       %d layers, d %d, MLP %d, %d heads of %d, %d of keys and values, vocabulary %d\n",
		m.Layers, m.HiddenSize, m.Intermediate, m.Heads, m.HeadDim, m.KVHeads, m.Vocabulary)
	a.printf("Context     %d tokens, RoPE base %g%s\n", m.Context, m.RopeTheta, prefixed(", ", m.RopeScaling))
	var types []string
	for _, name := range slices.Sorted(maps.Keys(m.DTypes)) {
		types = append(types, fmt.Sprintf("%s %d", name, m.DTypes[name]))
	}
	a.printf("Parameters  %d (%s)\n", m.Parameters, strings.Join(types, ", "))
	if m.WeightsError != "" {
		a.printf("!! Weights  %s\n", m.WeightsError)
	}
	if m.Template.Usable {
		a.printf("Template    usable; a turn ends with %s; feedback as %s\n", strings.Join(m.Template.EndOfTurn, " or "), strings.Join(m.Template.Feedback, " or "))
	} else {
		a.printf("!! Template %s\n", m.Template.Why)
	}
	const mib = 1 << 20
	a.printf("Memory      to sample %d dialogues of %d tokens: %d MiB (weights %d, keys and values %d, activations %d)\n", m.Memory.Rows, m.Memory.Tokens,
		(m.Memory.Weights+m.Memory.Cache+m.Memory.Step)/mib, m.Memory.Weights/mib, m.Memory.Cache/mib, m.Memory.Step/mib)
	a.printf("            to score a row of %d tokens: %d MiB (weights %d, activations %d)\n", m.Scoring.Tokens,
		(m.Scoring.Weights+m.Scoring.Step)/mib, m.Scoring.Weights/mib, m.Scoring.Step/mib)
	a.printTraining("train", m.Training)
	a.printTraining("fine-tune", m.Tuning)
	for _, f := range m.Files {
		a.printf("File        %s  %d bytes  sha256 %s\n", f.Name, f.Bytes, f.SHA256)
	}
}

func (a *app) printTraining(verb string, list []trainingMemory) {
	const mib = 1 << 20
	for _, t := range list {
		what := "all weights"
		if t.Rank > 0 {
			what = fmt.Sprintf("adapters of rank %d", t.Rank)
		}
		a.printf("            to %s %s, micro-batches of %d dialogues of %d tokens: %d MiB (weights %d, optimiser %d, gradients %d, activations %d)\n",
			verb, what, t.Rows, t.Tokens, t.Total/mib, t.Weights/mib, t.Optimizer/mib, t.Gradients/mib, t.Activations/mib)
	}
}

func prefixed(prefix, text string) string {
	if text == "" {
		return ""
	}
	return prefix + text
}
