package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"multiattempt/internal/chat"
	"multiattempt/internal/engine"
	"multiattempt/internal/nn"
	"multiattempt/internal/policy"
	"multiattempt/internal/printable"
	"multiattempt/internal/spec"
	"multiattempt/internal/verify"
	"multiattempt/presets"
)

const chatHelp = `Ask a model, and let it try again when it is wrong.

Each line is a question. The model's attempt appears token by token; then you answer it with a line:

  the right answer   it is graded, and so are the attempts that follow, without asking you again
  wrong              the model is told so and tries again
  right              the question is done (so does an empty line)

After the last attempt, or a right one, the next question may be asked; the end of the input ends the command. Every
question begins a new dialogue. Lines may come from a pipe as well: then nothing is asked for, and --json makes of each
attempt a line with question, attempt, text, outcome (correct | wrong | no_answer | truncated | unknown), answer, rule and
tokens.

` + modelNames

// talk are the command's options.
type talk struct {
	preset   string
	attempts int
	maxNew   int
	seed     uint64
	params   policy.Params
	compute  spec.Compute
	asJSON   bool
}

func (a *app) newChat() *cobra.Command {
	var t talk
	cmd := &cobra.Command{
		Use:   "chat MODEL",
		Short: "Ask a model, and let it try again when it is wrong",
		Long:  chatHelp,
		Example: `  multiattempt chat run:my-run@best
  printf '47+? 2,5,9\n52\n' | multiattempt chat builtin:smudged-base --preset quickstart`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			run, err := t.settings()
			if err != nil {
				return err
			}
			return a.withWeights(cmd, args[0], t.work(), func(d *device) error {
				sampler, err := engine.NewSampler(d.Backend, d.model, engine.SamplerOptions{Compute: t.compute, MaxBytes: d.capacity})
				if err != nil {
					return err
				}
				defer sampler.Close()
				if err := d.model.Close(); err != nil { // the weights live on the device from here on
					return err
				}
				c := &conversation{
					talk: t, run: run, template: d.template, sampler: sampler, limit: d.model.Config.MaxPositions,
					person: newPerson(cmd.Context(), cmd.InOrStdin()), out: a.stdout, notes: a.stderr,
				}
				return c.questions(cmd.Context())
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&t.preset, "preset", "", "take prompts and grading from these settings (default: the paper's)")
	f.IntVar(&t.attempts, "attempts", 5, "attempts at each question")
	f.IntVar(&t.maxNew, "max-new-tokens", 1024, "the most tokens of an attempt")
	f.Uint64Var(&t.seed, "seed", 1, "seed of every draw")
	f.BoolVar(&t.asJSON, "json", false, "write each attempt as a JSON line when it has ended")
	addSampling(f, &t.params)
	addCompute(f, &t.compute)
	return cmd
}

// work is at least a dialogue of all attempts, with a question of one token: the true ones are read later.
func (t talk) work() work {
	return work{
		what: "a dialogue", talks: true,
		least: func(c nn.Config) (engine.Estimate, error) {
			return engine.PlanSampler(c, 1, min(c.MaxPositions, 1+t.attempts*t.maxNew), engine.SamplerOptions{Compute: t.compute})
		},
		advice: "make --attempts or --max-new-tokens smaller, set --compute bfloat16, or choose a smaller model",
	}
}

// settings are the prompts and the grading of the conversation.
func (t talk) settings() (spec.Run, error) {
	if t.attempts < 1 || t.maxNew < 1 {
		return spec.Run{}, usage("--attempts is %d and --max-new-tokens %d; both must be at least 1", t.attempts, t.maxNew)
	}
	if err := errors.Join(checkSampling(t.params), checkCompute(t.compute)); err != nil {
		return spec.Run{}, err
	}
	doc := []byte("{}")
	if t.preset != "" {
		var err error
		if doc, err = json.Marshal(map[string]string{"preset": t.preset}); err != nil {
			return spec.Run{}, err
		}
	}
	return spec.Resolve(doc, presets.Train())
}

// conversation is a person's talk with a model.
type conversation struct {
	talk
	run      spec.Run
	template *chat.Template
	sampler  *engine.Sampler
	limit    int // tokens of a dialogue
	person   *person
	out      io.Writer // what the model says, or JSON
	notes    io.Writer // what surrounds it
}

// questions answers one question after another until the input ends.
func (c *conversation) questions(ctx context.Context) error {
	for number := uint64(0); ; number++ {
		c.person.prompt(c.notes, "\nQuestion: ")
		question, ok := c.person.line(ctx)
		if !ok {
			return ctx.Err()
		}
		if question == "" {
			continue
		}
		row, err := c.dialogue(ctx, question, number)
		if err != nil && !c.person.here {
			return fmt.Errorf("question %d: %w", number+1, err)
		}
		if err != nil { // whoever sits there can put it otherwise
			printable.Fprintf(c.notes, "%v\n", err)
			continue
		}
		params := c.params
		params.MaxLength = min(c.limit, row.longest())
		row.length = params.MaxLength
		if err := c.sampler.Sample(ctx, []policy.Row{row}, params, nil); err != nil {
			return err
		}
		if row.err != nil {
			return row.err
		}
	}
}

// dialogue writes the forced turns of a question's dialogue.
func (c *conversation) dialogue(ctx context.Context, question string, number uint64) (*chatRow, error) {
	r := &chatRow{conversation: c, ctx: ctx, question: question, seed: [2]uint64{c.seed, number}}
	turns := []chat.Message{{Role: "user", Content: question}}
	if system := c.run.Prompt.SystemText(c.attempts); system != "" {
		turns = append([]chat.Message{{Role: "system", Content: system}}, turns...)
	}
	var err error
	if r.opening, err = c.template.Opening(turns); err != nil {
		return nil, err
	}
	if err := checkPrompt(r.opening, c.limit, 1<<31-1); err != nil {
		return nil, usage("%w", err)
	}
	if c.attempts > 1 { // so that a template that takes no feedback is found out before anything is sampled
		_, err = c.tryAgain(spec.Failure{Left: c.attempts - 1, Attempt: 1}, question)
	}
	return r, err
}

// tryAgain writes the feedback after a wrong attempt, in the role that the settings say; where the template does not take
// a system turn there, as the user's.
func (c *conversation) tryAgain(failed spec.Failure, question string) ([]int32, error) {
	failed.Hint = c.run.Prompt.HintAfter(nil, failed.Attempt)
	var refused error
	for _, role := range []string{c.run.Prompt.FeedbackRole, "user"} {
		turns := []chat.Message{{Role: role, Content: c.run.Prompt.FeedbackText(failed)}}
		if c.run.Prompt.RepeatQuestion {
			turns = append(turns, chat.Message{Role: "user", Content: question})
		}
		ids, err := c.template.Turn(turns)
		if err == nil || !errors.Is(err, chat.ErrRole) {
			return ids, err
		}
		refused = err
	}
	return nil, refused
}

// grade judges an attempt against the right answer.
func (c *conversation) grade(gold, text string) verify.Verdict {
	return verify.Grade(gold, text, verify.Options{Mode: verify.Mode(c.run.Grading.Mode), Unboxed: c.run.Grading.Unboxed})
}

// person writes lines, at a terminal or through a pipe.
type person struct {
	lines chan string
	here  bool // at a terminal
}

// newPerson reads lines in the background, as long as ctx lasts.
func newPerson(ctx context.Context, in io.Reader) *person {
	p := &person{lines: make(chan string)}
	if file, ok := in.(*os.File); ok {
		info, err := file.Stat()
		p.here = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	go func() {
		defer close(p.lines)
		for reader := bufio.NewReader(in); ; {
			line, err := reader.ReadString('\n')
			if err != nil && line == "" {
				return
			}
			select {
			case p.lines <- strings.TrimSpace(line):
			case <-ctx.Done():
				return
			}
		}
	}()
	return p
}

// prompt tells somebody at a terminal what is expected.
func (p *person) prompt(w io.Writer, text string) {
	if p.here {
		fmt.Fprint(w, text)
	}
}

// line waits for the next line; false at the end of the input or of ctx.
func (p *person) line(ctx context.Context) (string, bool) {
	select {
	case line, ok := <-p.lines:
		return line, ok
	case <-ctx.Done():
		return "", false
	}
}
