package chat

import (
	"fmt"

	"github.com/nikolalohinski/gonja/v2/builtins"
	"github.com/nikolalohinski/gonja/v2/config"
	"github.com/nikolalohinski/gonja/v2/exec"
	"github.com/nikolalohinski/gonja/v2/loaders"
)

// jinja is a compiled chat template. It sees the dialogue and the special tokens, as in Hugging Face transformers, but
// neither files (a template cannot include one) nor the date (strftime_now is undefined, so that a template that would
// write today's date writes its fixed one, and equal runs stay equal).
type jinja struct {
	template *exec.Template
	special  map[string]string // bos_token and so on
}

func compileJinja(source string, special map[string]string) (*jinja, error) {
	const name = "/chat_template"
	loader, err := loaders.NewMemoryLoader(map[string]string{name: source})
	if err != nil {
		return nil, err
	}
	c := config.New()
	c.TrimBlocks, c.LeftStripBlocks = true, true // as transformers compiles them
	environment := &exec.Environment{
		Context:           exec.EmptyContext().Update(builtins.GlobalFunctions).Update(builtins.GlobalVariables),
		Filters:           builtins.Filters,
		Tests:             builtins.Tests,
		ControlStructures: builtins.ControlStructures,
		Methods:           builtins.Methods,
	}
	t, err := exec.NewTemplate(name, c, loader, environment)
	if err != nil {
		return nil, err
	}
	return &jinja{template: t, special: special}, nil
}

// render writes the dialogue as text. Panics of the template engine on templates beyond its means become errors.
func (j *jinja) render(messages []Message, prompt bool) (text string, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the template engine failed: %v", p)
		}
	}()
	list := make([]any, len(messages))
	for i, m := range messages {
		list[i] = map[string]any{"role": m.Role, "content": m.Content}
	}
	values := map[string]any{
		"messages":              list,
		"add_generation_prompt": prompt,
		"tools":                 nil,
		"documents":             nil,
		"raise_exception": func(_ *exec.Evaluator, arguments *exec.VarArgs) (any, error) {
			return nil, fmt.Errorf("the template says: %s", arguments.First().String())
		},
	}
	for name, token := range j.special {
		values[name] = token
	}
	return j.template.ExecuteToString(exec.NewContext(values))
}
