package chat

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/dlclark/regexp2"
)

// preTokenizer says, in tokenizer.json, how text falls into words.
type preTokenizer struct {
	Type             string         `json:"type"`
	PreTokenizers    []preTokenizer `json:"pretokenizers"`
	AddPrefixSpace   *bool          `json:"add_prefix_space"`
	UseRegex         *bool          `json:"use_regex"`
	IndividualDigits bool           `json:"individual_digits"`
	Behavior         string         `json:"behavior"`
	Invert           bool           `json:"invert"`
	Pattern          struct {
		Regex  string  `json:"Regex"`
		String *string `json:"String"`
	} `json:"pattern"`
}

// step splits words further, or writes them in byte-level letters.
type step struct {
	pattern *regexp2.Regexp // matches and what lies between them become words; nil: no split
	bytes   bool            // then write each word's bytes as letters
}

// gpt2Words is how GPT-2 splits text: the pattern built into Hugging Face's ByteLevel.
const gpt2Words = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`

// steps lists what a pre-tokenizer does, in order.
func (p preTokenizer) steps() ([]step, error) {
	switch p.Type {
	case "Sequence":
		var all []step
		for _, child := range p.PreTokenizers {
			s, err := child.steps()
			if err != nil {
				return nil, err
			}
			all = append(all, s...)
		}
		return all, nil
	case "ByteLevel":
		if p.AddPrefixSpace == nil || *p.AddPrefixSpace {
			return nil, errors.New("pre_tokenizer ByteLevel with add_prefix_space; supported: without")
		}
		if p.UseRegex != nil && !*p.UseRegex {
			return []step{{bytes: true}}, nil
		}
		return splitBy(gpt2Words, true)
	case "Digits":
		if p.IndividualDigits {
			return splitBy(`\p{N}`, false)
		}
		return splitBy(`\p{N}+`, false)
	case "Split":
		if p.Behavior != "Isolated" || p.Invert {
			return nil, fmt.Errorf("pre_tokenizer Split with behavior %s, invert %t; supported: Isolated, false", p.Behavior, p.Invert)
		}
		if p.Pattern.String != nil {
			return splitBy(regexp2.Escape(*p.Pattern.String), false)
		}
		return splitBy(p.Pattern.Regex, false)
	}
	return nil, fmt.Errorf("pre_tokenizer %s; supported: Sequence, ByteLevel, Digits, Split", p.Type)
}

func splitBy(pattern string, bytes bool) ([]step, error) {
	compiled, err := regexp2.Compile(pattern, regexp2.None)
	if err != nil {
		return nil, fmt.Errorf("pre_tokenizer pattern: %w", err)
	}
	return []step{{compiled, bytes}}, nil
}

// apply splits each word.
func (s step) apply(words []string) ([]string, error) {
	if s.pattern != nil {
		var parts []string
		for _, w := range words {
			var err error
			if parts, err = s.splitWord(parts, w); err != nil {
				return nil, err
			}
		}
		words = parts
	}
	if s.bytes {
		for i, w := range words {
			words[i] = encodeBytes(w)
		}
	}
	return words, nil
}

// splitWord appends the pattern's matches in a word, and what lies between them.
func (s step) splitWord(parts []string, word string) ([]string, error) {
	runes := []rune(word)
	end := 0
	keep := func(from, to int) {
		if from < to {
			parts = append(parts, string(runes[from:to]))
		}
	}
	m, err := s.pattern.FindRunesMatch(runes)
	for ; m != nil && err == nil; m, err = s.pattern.FindNextMatch(m) {
		keep(end, m.Index)
		keep(m.Index, m.Index+m.Length)
		end = m.Index + m.Length
	}
	keep(end, len(runes))
	return parts, err
}

// byteLetters are the 256 letters that stand for bytes in a byte-level vocabulary: printable Latin-1 for itself, the
// others from U+0100 on (GPT-2's bytes_to_unicode).
var byteLetters, letterBytes = func() (letters [256]rune, bytes map[rune]byte) {
	bytes = make(map[rune]byte, 256)
	next := rune(256)
	for b := range 256 {
		r := rune(b)
		if printable := r >= '!' && r <= '~' || r >= '¡' && r <= '¬' || r >= '®' && r <= 'ÿ'; !printable {
			r = next
			next++
		}
		letters[b], bytes[r] = r, byte(b)
	}
	return letters, bytes
}()

// encodeBytes writes text in byte-level letters.
func encodeBytes(text string) string {
	var b strings.Builder
	for i := range len(text) {
		b.WriteRune(byteLetters[text[i]])
	}
	return b.String()
}

// decodeBytes undoes encodeBytes; characters that are no byte-level letter stay.
func decodeBytes(letters string) string {
	b := make([]byte, 0, len(letters))
	for _, r := range letters {
		if x, ok := letterBytes[r]; ok {
			b = append(b, x)
		} else {
			b = utf8.AppendRune(b, r)
		}
	}
	return string(b)
}

// tokenText reads a special token of tokenizer_config.json: a string, an object with its content, or null.
func tokenText(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	var o struct {
		Content string `json:"content"`
	}
	_ = json.Unmarshal(raw, &o) // null or something else: no token
	return o.Content
}
