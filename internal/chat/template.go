// Package chat turns dialogues into tokens and tokens into text, with the tokenizer and chat template of a Hugging Face
// folder. Dialogues are built turn by turn: what was sampled is never written as text and read again.
package chat

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
)

// ErrTemplate: the chat template is missing, broken, or does not let dialogues be built turn by turn.
var ErrTemplate = errors.New("unusable chat template")

// ErrRole: the chat template does not accept a turn of this role at this place.
var ErrRole = errors.New("the chat template refuses the turn; try prompt.feedback_role: user")

// Template writes dialogues in one model's tokens. It may be used by several goroutines.
type Template struct {
	tokenizer *tokenizer
	jinja     *jinja
	close     int32
	ends      []int32
	cutsLeft  bool // the template cuts off white space before what an assistant said
	cutsRight bool // … behind it

	mu    sync.Mutex
	turns map[string][]int32 // results of Turn by its messages
}

// Load reads tokenizer.json, tokenizer_config.json, chat_template.jinja (if any) and generation_config.json (if any).
func Load(dir string) (*Template, error) {
	t, err := LoadFS(os.DirFS(dir))
	if err != nil {
		return nil, fmt.Errorf("model folder %s: %w", dir, err)
	}
	return t, nil
}

// settings are the fields of tokenizer_config.json that matter here.
type settings struct {
	Template json.RawMessage `json:"chat_template"` // text, or a list of named texts
	BOS      json.RawMessage `json:"bos_token"`
	EOS      json.RawMessage `json:"eos_token"`
	PAD      json.RawMessage `json:"pad_token"`
	UNK      json.RawMessage `json:"unk_token"`
}

// LoadFS is Load from a file system, such as one in the binary.
func LoadFS(files fs.FS) (*Template, error) {
	text, err := fs.ReadFile(files, "tokenizer.json")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTokenizer, err)
	}
	t := &Template{turns: map[string][]int32{}}
	if t.tokenizer, err = parseTokenizer(text); err != nil {
		return nil, fmt.Errorf("tokenizer.json: %w", err)
	}
	var s settings
	if text, err = fs.ReadFile(files, "tokenizer_config.json"); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTemplate, err)
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return nil, fmt.Errorf("%w: tokenizer_config.json: %w", ErrTemplate, err)
	}
	source, err := s.source(files)
	if err != nil {
		return nil, err
	}
	special := map[string]string{}
	for name, raw := range map[string]json.RawMessage{"bos_token": s.BOS, "eos_token": s.EOS, "pad_token": s.PAD, "unk_token": s.UNK} {
		special[name] = tokenText(raw)
	}
	if t.jinja, err = compileJinja(source, special); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTemplate, err)
	}
	if err := t.findEnds(files, special["eos_token"]); err != nil {
		return nil, err
	}
	return t, t.probe()
}

// source returns the template's text: chat_template.jinja, or the one in tokenizer_config.json; of several, "default".
func (s settings) source(files fs.FS) (string, error) {
	text, err := fs.ReadFile(files, "chat_template.jinja")
	if err == nil {
		return string(text), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%w: %w", ErrTemplate, err)
	}
	var one string
	if json.Unmarshal(s.Template, &one) == nil && one != "" {
		return one, nil
	}
	var named []struct{ Name, Template string }
	if json.Unmarshal(s.Template, &named) == nil {
		for _, n := range named {
			if n.Name == "default" {
				return n.Template, nil
			}
		}
	}
	return "", fmt.Errorf("%w: neither chat_template.jinja nor chat_template in tokenizer_config.json", ErrTemplate)
}

// findEnds collects the ids that end a turn: generation_config.json's eos_token_id and the tokenizer's eos_token. The
// one that the template writes joins them in probe.
func (t *Template) findEnds(files fs.FS, eos string) error {
	if id, ok := t.tokenizer.id(eos); ok {
		t.ends = append(t.ends, id)
	}
	text, err := fs.ReadFile(files, "generation_config.json")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrTemplate, err)
	}
	var g struct {
		EOS json.RawMessage `json:"eos_token_id"`
	}
	if err := json.Unmarshal(text, &g); err != nil {
		return fmt.Errorf("%w: generation_config.json: %w", ErrTemplate, err)
	}
	var one *int32
	var many []int32
	if json.Unmarshal(g.EOS, &one) == nil && one != nil {
		many = []int32{*one}
	} else {
		_ = json.Unmarshal(g.EOS, &many) // absent or null: none
	}
	t.ends = append(t.ends, many...)
	return nil
}

// EndOfTurn lists, ascending, the ids that end an assistant's turn when sampled: those of generation_config.json, the
// tokenizer's end of text, and the token that the template writes after an assistant's turn.
func (t *Template) EndOfTurn() []int32 { return slices.Clone(t.ends) }

// Close is the id that the template writes after an assistant's turn: forced where a turn did not end by itself.
func (t *Template) Close() int32 { return t.close }

// Token is the text of one token, special or not.
func (t *Template) Token(id int32) string {
	if a, ok := t.tokenizer.addedByID[id]; ok {
		return a.Content
	}
	return decodeBytes(t.tokenizer.pieces[id])
}

// Decode turns tokens into text, special tokens left out.
func (t *Template) Decode(ids []int32) string { return t.tokenizer.decode(ids) }

// Encode returns the tokens of text. Special tokens are read as such: it is for text that was not written by others.
func (t *Template) Encode(text string) ([]int32, error) { return t.tokenizer.encode(text) }

// Opening returns the tokens of a dialogue's first turns and of what introduces the assistant's answer.
func (t *Template) Opening(messages []Message) ([]int32, error) {
	text, err := t.write(messages, true)
	if err != nil {
		return nil, err
	}
	return t.tokenizer.encode(text)
}

// Trims reports whether the template cuts off white space around what an assistant said. Tokens that were sampled keep theirs:
// the model has seen them.
func (t *Template) Trims() bool { return t.cutsLeft || t.cutsRight }

// Reply returns the tokens of an assistant's turn with this text as the template writes it, the closing token included: what a
// model that imitates it should sample.
func (t *Template) Reply(text string) ([]int32, error) {
	if err := t.checkContent(Message{"assistant", text}); err != nil {
		return nil, err
	}
	ids, err := t.tokenizer.encode(t.cut(text))
	return append(ids, t.close), err
}

// Turn returns the tokens between the end-of-turn token of an assistant's turn and the first token of its next one:
// the given turns with what the template writes around them. They do not depend on what was said before. ErrRole says
// that the template refuses them, ErrTemplate that it rewrites earlier turns.
func (t *Template) Turn(messages []Message) (glue []int32, err error) {
	key := fmt.Sprintf("%q", messages)
	t.mu.Lock()
	known, ok := t.turns[key]
	t.mu.Unlock()
	if ok {
		return slices.Clone(known), nil
	}
	text, err := t.turnText(messages)
	if err != nil {
		return nil, err
	}
	if glue, err = t.tokenizer.encode(text); err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.turns) >= maxTurns {
		clear(t.turns)
	}
	t.turns[key] = slices.Clone(glue)
	return glue, nil
}

// maxTurns bounds the memory of Turn; feedback has few wordings unless it repeats the question.
const maxTurns = 4096

// write renders turns as text. Everything said must be in it, in order: a template may not drop turns.
func (t *Template) write(messages []Message, prompt bool) (string, error) {
	for _, m := range messages {
		if err := t.checkContent(m); err != nil {
			return "", err
		}
	}
	text, err := t.jinja.render(messages, prompt)
	if err != nil {
		return "", fmt.Errorf("%w: %s: %w", ErrRole, roles(messages), err)
	}
	rest := text
	for _, m := range messages {
		content := strings.TrimSpace(m.Content)
		i := strings.Index(rest, content)
		switch {
		case i < 0 && m.Role == "assistant":
			return "", fmt.Errorf("%w: it rewrites earlier turns: of %s it leaves out what the assistant said", ErrTemplate, roles(messages))
		case i < 0:
			return "", fmt.Errorf("%w: %s: it leaves out the %s turn, or moves it", ErrRole, roles(messages), m.Role)
		}
		rest = rest[i+len(content):]
	}
	return text, nil
}

// checkContent refuses text that would be read as special tokens: nobody may end somebody else's turn.
func (t *Template) checkContent(m Message) error {
	for _, a := range t.tokenizer.added {
		if a.Special && strings.Contains(m.Content, a.Content) {
			return fmt.Errorf("%w: a %s turn contains the special token %s", ErrTokenizer, m.Role, a.Content)
		}
	}
	return nil
}

func roles(messages []Message) string {
	var names []string
	for _, m := range messages {
		names = append(names, m.Role)
	}
	return strings.Join(names, ", ")
}
