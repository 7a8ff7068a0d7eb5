package cli

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"multiattempt/internal/printable"
	"multiattempt/internal/verify"
)

const gradeHelp = `Decide whether answers equal gold answers.

Reads JSON lines from standard input, each with "id", "gold_answer" and "pred_boxed" (the model's text, whose last
complete \boxed{…} is the answer), and writes one JSON line for each in the same order:

  id, correct, status (equal | unequal | no_answer | bounded), opaque (true: compared as tokens only), extracted,
  gold_type, pred_type, rule, micros (microseconds that the grading took)

A line that cannot be read is reported with its number; the others are graded all the same, and the exit code is 2.
With --gold and --answer one pair is graded and explained. docs/grading.md describes the rules.`

// gradeFlags are the command's options.
type gradeFlags struct {
	gold, answer string
	mode         string
	unboxed      bool
}

func newGradeCommand() *cobra.Command {
	var f gradeFlags
	cmd := &cobra.Command{
		Use:   "grade",
		Short: "Decide whether answers equal gold answers",
		Long:  gradeHelp,
		Example: `  multiattempt grade < answers.jsonl > verdicts.jsonl
  multiattempt grade --gold '\frac12' --answer 'so \boxed{0.5}'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			options, err := f.options()
			if err != nil {
				return err
			}
			gold, answer := cmd.Flags().Changed("gold"), cmd.Flags().Changed("answer")
			switch {
			case gold && answer:
				explainGrade(cmd.OutOrStdout(), f.gold, f.answer, options)
				return nil
			case gold || answer:
				return fmt.Errorf("%w: --gold and --answer go together", errUsage)
			}
			return gradeLines(cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr(), options)
		},
	}
	cmd.Flags().StringVar(&f.gold, "gold", "", "gold answer of the one pair to explain")
	cmd.Flags().StringVar(&f.answer, "answer", "", "model's text of the one pair to explain")
	cmd.Flags().StringVar(&f.mode, "mode", string(verify.ModeTyped), "rules: typed, or paper (as the published scores were made)")
	cmd.Flags().BoolVar(&f.unboxed, "unboxed", false, "without a box, take \"final answer is …\" or else the last number")
	return cmd
}

func (f gradeFlags) options() (verify.Options, error) {
	switch mode := verify.Mode(f.mode); mode {
	case verify.ModeTyped, verify.ModePaper:
		return verify.Options{Mode: mode, Unboxed: f.unboxed}, nil
	}
	return verify.Options{}, fmt.Errorf("%w: --mode is %q, must be typed or paper", errUsage, f.mode)
}

// jsonText is a JSON string, or a number taken as it is written: some data sets have numeric answers.
type jsonText string

func (t *jsonText) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] != '"' {
		var n json.Number
		if err := json.Unmarshal(b, &n); err != nil {
			return errors.New("must be a string or a number")
		}
		*t = jsonText(n)
		return nil
	}
	return json.Unmarshal(b, (*string)(t))
}

// gradeRequest is a line of input.
type gradeRequest struct {
	ID   json.RawMessage `json:"id"`
	Gold *jsonText       `json:"gold_answer"`
	Pred *jsonText       `json:"pred_boxed"`
}

// gradeReply is a line of output.
type gradeReply struct {
	ID        json.RawMessage `json:"id"`
	Correct   bool            `json:"correct"`
	Status    verify.Status   `json:"status"`
	Opaque    bool            `json:"opaque"`
	Extracted string          `json:"extracted"`
	GoldType  string          `json:"gold_type"`
	PredType  string          `json:"pred_type"`
	Rule      string          `json:"rule"`
	Micros    int64           `json:"micros"`
}

// gradeLines grades every line of in and reports the ones that cannot be read to problems.
func gradeLines(in io.Reader, out, problems io.Writer, options verify.Options) error {
	reader := bufio.NewReaderSize(in, 1<<20)
	writer := bufio.NewWriter(out)
	encoder := json.NewEncoder(printable.JSON(writer))
	encoder.SetEscapeHTML(false)
	bad, total := 0, 0
	for number := 1; ; number++ {
		line, readErr := reader.ReadBytes('\n')
		if readErr != nil && !errors.Is(readErr, io.EOF) {
			return fmt.Errorf("reading line %d: %w", number, errors.Join(readErr, writer.Flush()))
		}
		if len(bytes.TrimSpace(line)) > 0 {
			total++
			request, err := parseGradeRequest(line)
			if err != nil {
				bad++
				printable.Fprintf(problems, "line %d: %v\n", number, err)
			} else if err := encoder.Encode(gradeOne(request, options)); err != nil {
				return fmt.Errorf("writing the verdict of line %d: %w", number, err)
			}
		}
		if readErr != nil {
			break
		}
	}
	if err := writer.Flush(); err != nil {
		return fmt.Errorf("writing verdicts: %w", err)
	}
	if bad > 0 {
		return fmt.Errorf("%w: %d of %d lines could not be read; they are named above, the others are graded", errUsage, bad, total)
	}
	return nil
}

func parseGradeRequest(line []byte) (gradeRequest, error) {
	var r gradeRequest
	if err := json.Unmarshal(line, &r); err != nil {
		return r, fmt.Errorf("not a JSON object with id, gold_answer and pred_boxed: %w", err)
	}
	switch {
	case len(r.ID) == 0 || r.ID[0] == '{' || r.ID[0] == '[' || bytes.Equal(r.ID, []byte("null")):
		return r, errors.New(`"id" is missing, or not a string or number`)
	case r.Gold == nil:
		return r, errors.New(`"gold_answer" is missing`)
	case r.Pred == nil:
		return r, errors.New(`"pred_boxed" is missing`)
	}
	return r, nil
}

func gradeOne(r gradeRequest, options verify.Options) gradeReply {
	start := time.Now()
	v := verify.Grade(string(*r.Gold), string(*r.Pred), options)
	return gradeReply{
		ID: r.ID, Correct: v.Correct, Status: v.Status, Opaque: v.Opaque, Extracted: v.Extracted,
		GoldType: v.GoldType, PredType: v.PredType, Rule: v.Rule, Micros: time.Since(start).Microseconds(),
	}
}

// explainGrade tells a person how one pair is graded.
func explainGrade(w io.Writer, gold, text string, options verify.Options) {
	v := verify.Grade(gold, text, options)
	goldType, opaque := verify.InspectGold(gold)
	if opaque {
		goldType = "not understood: compared as tokens only"
	}
	printable.Fprintf(w, "gold     %s   (%s)\n", gold, goldType)
	switch {
	case v.HasAnswer:
		printable.Fprintf(w, "answer   %s   (%s)\n", v.Extracted, v.PredType)
	case v.Truncated:
		fmt.Fprintln(w, "answer   none: the box is never closed")
	default:
		fmt.Fprintln(w, "answer   none")
	}
	printable.Fprintf(w, "verdict  %s\n", v.Status)
	printable.Fprintf(w, "rule     %s: %s\n", v.Rule, verify.ExplainRule(v.Rule))
	other := verify.Options{Mode: verify.ModePaper, Unboxed: options.Unboxed}
	if options.Mode == verify.ModePaper {
		other.Mode = verify.ModeTyped
	}
	o := verify.Grade(gold, text, other)
	printable.Fprintf(w, "%-8s %s (%s)\n", other.Mode, o.Status, o.Rule)
}
