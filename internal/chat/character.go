package chat

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"
)

// Special tokens of a character-level tokenizer. A role's token opens its turn, characterEnd closes any turn.
const (
	characterPad       = "<|pad|>"
	characterEnd       = "<|end|>"
	characterSystem    = "<|system|>"
	characterUser      = "<|user|>"
	characterAssistant = "<|assistant|>"
)

// characterTemplate spends two tokens a turn beside its text.
const characterTemplate = `{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}`

// NewCharacterFolder writes the tokenizer of a model that reads characters: tokenizer.json, tokenizer_config.json with a
// chat template, generation_config.json, all readable by Hugging Face's libraries too. Ids 0 to 4 are padding, end of
// turn, system, user, assistant; the alphabet follows in its order, then the words: pieces of text that are one token
// each wherever they occur. It returns the number of ids. The alphabet holds each character once, ASCII only.
func NewCharacterFolder(dir, alphabet string, words ...string) (vocabulary int, err error) {
	specials := []string{characterPad, characterEnd, characterSystem, characterUser, characterAssistant}
	vocab := map[string]int{}
	for i, r := range alphabet {
		letter := encodeBytes(string(r))
		if r > '~' {
			return 0, fmt.Errorf("%w: alphabet character %d is %q; a character-level tokenizer holds ASCII only", ErrTokenizer, i, r)
		}
		if _, twice := vocab[letter]; twice {
			return 0, fmt.Errorf("%w: the alphabet holds %q twice", ErrTokenizer, r)
		}
		vocab[letter] = len(specials) + len(vocab)
	}
	added := []map[string]any{}
	add := func(id int, content string, special bool) {
		added = append(added, map[string]any{
			"id": id, "content": content, "special": special, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
		})
	}
	for id, s := range specials {
		add(id, s, true)
		vocab[s] = id
	}
	for i, w := range words {
		if utf8.RuneCountInString(w) < 2 || slices.Contains(words[:i], w) {
			return 0, fmt.Errorf("%w: word %d is %q; a word has two characters or more and is listed once", ErrTokenizer, i, w)
		}
		add(len(vocab), w, false)
		vocab[w] = len(vocab)
	}
	byteLevel := map[string]any{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false}
	files := map[string]any{
		"tokenizer.json": map[string]any{
			"version": "1.0", "truncation": nil, "padding": nil, "added_tokens": added, "normalizer": nil,
			"pre_tokenizer": byteLevel, "post_processor": nil, "decoder": byteLevel,
			"model": map[string]any{
				"type": "BPE", "dropout": nil, "unk_token": nil, "continuing_subword_prefix": nil, "end_of_word_suffix": nil,
				"fuse_unk": false, "byte_fallback": false, "ignore_merges": false, "vocab": vocab, "merges": []string{},
			},
		},
		"tokenizer_config.json": map[string]any{
			"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": characterTemplate, "eos_token": characterEnd,
			"pad_token": characterPad, "clean_up_tokenization_spaces": false,
		},
		"generation_config.json": map[string]any{"eos_token_id": 1, "pad_token_id": 0},
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return 0, err
	}
	for name, content := range files {
		if err := writeJSON(filepath.Join(dir, name), content); err != nil {
			return 0, err
		}
	}
	return len(vocab), nil
}

// writeJSON writes indented JSON, keys in order, with < and > as they are.
func writeJSON(path string, content any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(content); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return os.WriteFile(path, []byte(strings.TrimSpace(b.String())+"\n"), 0o644)
}
