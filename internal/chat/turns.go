package chat

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// answers stand for what an assistant may say, when the template is examined: what it writes around a turn must be the
// same for all of them. The second one looks like hidden reasoning, which some templates cut out of earlier turns.
var answers = []string{"The answer is one.", "<think>\nfirst\n</think>\n\nthe answer is two"}

// question opens the dialogues with which the template is examined.
var question = []Message{{"user", "What is one plus one?"}}

// probe finds the token that closes an assistant's turn and makes sure that dialogues can be built turn by turn.
func (t *Template) probe() error {
	_, id, err := t.closing(answers[0])
	if err != nil {
		return err
	}
	t.close = id
	t.ends = append(t.ends, id)
	slices.Sort(t.ends)
	t.ends = slices.Compact(t.ends)
	glue, err := t.turnText(doubt)
	if err != nil {
		return err
	}
	return t.probeSpace(glue)
}

// doubt is the feedback with which the template is examined, as text: a tokenizer need not know these letters.
var doubt = []Message{{"user", "Are you sure?"}}

// Space around what an assistant says when the template is examined. Either side also begins or ends with each of a space
// and a line's end, so that a template which cuts off only one of them is found out.
const spaceLeft, spaceRight = "\n \n", " \n "

// probeSpace finds out whether the template cuts off white space around what the assistant said. It may cut off all of it, on
// either side, in every turn; whatever else it does to it is refused.
func (t *Template) probeSpace(glue string) error {
	const said = "The answer is one."
	opening, err := t.write(question, true)
	if err != nil {
		return err
	}
	dialogue := slices.Clone(question)
	for range 2 {
		dialogue = append(append(dialogue, Message{"assistant", spaceLeft + said + spaceRight}), doubt...)
	}
	text, err := t.write(dialogue, true)
	if err != nil {
		return err
	}
	for left, cutsLeft := range map[string]bool{spaceLeft: false, "": true} {
		for right, cutsRight := range map[string]bool{spaceRight: false, "": true} {
			if text == opening+strings.Repeat(left+said+right+t.tokenOf(t.close)+glue, 2) {
				t.cutsLeft, t.cutsRight = cutsLeft, cutsRight
				return nil
			}
		}
	}
	return fmt.Errorf("%w: it rewrites the white space around what the assistant said, other than by cutting all of it off in every turn: %q",
		ErrTemplate, text)
}

// closing renders one exchange and returns its text up to and with the closing token of the assistant's turn, and that
// token's id.
func (t *Template) closing(answer string) (text string, id int32, err error) {
	opening, err := t.write(question, true)
	if err != nil {
		return "", 0, err
	}
	whole, err := t.write(append(slices.Clone(question), Message{"assistant", answer}), false)
	if err != nil {
		return "", 0, err
	}
	rest, ok := strings.CutPrefix(whole, opening+answer)
	if !ok {
		return "", 0, fmt.Errorf("%w: an assistant's turn is not written as the prompt followed by what it said: prompt %q, dialogue %q",
			ErrTemplate, opening, whole)
	}
	at, token := t.tokenizer.nextAdded(rest)
	if at != 0 || !token.Special {
		return "", 0, fmt.Errorf("%w: an assistant's turn is followed by %q, which does not begin with a special token", ErrTemplate, rest)
	}
	return opening + answer + token.Content, token.ID, nil
}

// TurnText is Turn as text: for whoever wants to know which turns the template takes.
func (t *Template) TurnText(messages []Message) (string, error) { return t.turnText(messages) }

// turnText returns what the template writes between an assistant's closing token and its next turn, after making sure
// that it writes the same whatever was said, once or several times, and leaves earlier turns alone.
func (t *Template) turnText(messages []Message) (string, error) {
	var glue string
	for i, answer := range answers {
		before, _, err := t.closing(answer)
		if err != nil {
			return "", err
		}
		dialogue := append(slices.Clone(question), Message{"assistant", answer})
		dialogue = append(dialogue, messages...)
		next, err := t.after(before, dialogue)
		if err != nil {
			return "", err
		}
		if i > 0 && next != glue {
			return "", fmt.Errorf("%w: what it writes after an assistant's turn depends on that turn: %q or %q", ErrTemplate, glue, next)
		}
		glue = next
		closed := before + glue + answer + t.tokenOf(t.close)
		dialogue = append(append(dialogue, Message{"assistant", answer}), messages...)
		if again, err := t.after(closed, dialogue); err != nil {
			return "", err
		} else if again != glue {
			return "", fmt.Errorf("%w: a second turn is written otherwise than the first: %q and %q", ErrTemplate, again, glue)
		}
	}
	return glue, nil
}

// after renders a dialogue that must begin with the given text, and returns the rest.
func (t *Template) after(before string, dialogue []Message) (string, error) {
	text, err := t.write(dialogue, true)
	if err != nil {
		return "", err
	}
	rest, ok := strings.CutPrefix(text, before)
	if !ok {
		return "", fmt.Errorf("%w: it rewrites earlier turns when later ones follow, so dialogues cannot be built turn by turn: %q became %q",
			ErrTemplate, before, text)
	}
	return rest, nil
}

// cut cuts off the white space that the template cuts off around what an assistant said.
func (t *Template) cut(text string) string {
	if t.cutsLeft {
		text = strings.TrimLeftFunc(text, unicode.IsSpace)
	}
	if t.cutsRight {
		text = strings.TrimRightFunc(text, unicode.IsSpace)
	}
	return text
}

// tokenOf is an added token's text.
func (t *Template) tokenOf(id int32) string { return t.tokenizer.addedByID[id].Content }
