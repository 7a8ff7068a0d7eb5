package chat

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// ErrTokenizer: a tokenizer.json asks for something that this package does not do exactly as Hugging Face does, or text
// cannot be written in its tokens.
var ErrTokenizer = errors.New("unsupported tokenizer")

// tokenizer is byte-level byte-pair encoding as a tokenizer.json of the Llama 3, Qwen2 and GPT-2 families describes it.
type tokenizer struct {
	vocab     map[string]int32 // pieces in byte-level letters
	merges    map[[2]int32]merge
	whole     bool   // a word that is a token is not split (ignore_merges)
	composed  bool   // text is put into Unicode normal form C first
	split     []step // how text falls into words
	added     []addedToken
	addedByID map[int32]addedToken
	pieces    map[int32]string // vocab inverted
}

// addedToken is matched in text before anything else.
type addedToken struct {
	ID         int32  `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"`
	LStrip     bool   `json:"lstrip"`
	RStrip     bool   `json:"rstrip"`
	Special    bool   `json:"special"`
}

// merge joins a pair of pieces; the lowest rank goes first.
type merge struct {
	rank   int
	result int32
}

// tokenizerFile is tokenizer.json as far as it changes which tokens text becomes. The post-processor is left out on
// purpose: chat templates write their own beginning of text.
type tokenizerFile struct {
	Added        []addedToken  `json:"added_tokens"`
	Normalizer   *component    `json:"normalizer"`
	PreTokenizer *preTokenizer `json:"pre_tokenizer"`
	Decoder      *component    `json:"decoder"`
	Model        struct {
		Type         string            `json:"type"`
		Dropout      *float64          `json:"dropout"`
		Prefix       string            `json:"continuing_subword_prefix"`
		Suffix       string            `json:"end_of_word_suffix"`
		ByteFallback bool              `json:"byte_fallback"`
		IgnoreMerges bool              `json:"ignore_merges"`
		Vocab        map[string]int32  `json:"vocab"`
		Merges       []json.RawMessage `json:"merges"`
	} `json:"model"`
}

// component is a normalizer or decoder.
type component struct {
	Type        string      `json:"type"`
	Normalizers []component `json:"normalizers"`
}

// parseTokenizer reads a tokenizer.json and refuses, by name, what would be done otherwise than Hugging Face does it.
func parseTokenizer(text []byte) (*tokenizer, error) {
	var kind struct {
		Model struct{ Type string }
	}
	if err := json.Unmarshal(text, &kind); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTokenizer, err)
	}
	if kind.Model.Type != "BPE" {
		return nil, fmt.Errorf("%w: model.type is %q; supported: BPE", ErrTokenizer, kind.Model.Type)
	}
	var f tokenizerFile
	if err := json.Unmarshal(text, &f); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTokenizer, err)
	}
	t := &tokenizer{vocab: f.Model.Vocab, whole: f.Model.IgnoreMerges, added: f.Added}
	for _, read := range []func(*tokenizerFile) error{t.readModel, t.readNormalizer, t.readSplit, t.readAdded} {
		if err := read(&f); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrTokenizer, err)
		}
	}
	return t, nil
}

func (t *tokenizer) readModel(f *tokenizerFile) error {
	m := f.Model
	switch {
	case m.Dropout != nil && *m.Dropout != 0:
		return fmt.Errorf("model.dropout is %g; supported: none", *m.Dropout)
	case m.Prefix != "" || m.Suffix != "":
		return errors.New("model.continuing_subword_prefix or end_of_word_suffix is set; supported: none")
	case m.ByteFallback:
		return errors.New("model.byte_fallback is true; supported: byte-level vocabularies")
	case f.Decoder == nil || f.Decoder.Type != "ByteLevel":
		return errors.New("decoder is not ByteLevel; supported: ByteLevel")
	}
	t.pieces = make(map[int32]string, len(m.Vocab))
	for piece, id := range m.Vocab {
		t.pieces[id] = piece
	}
	t.merges = make(map[[2]int32]merge, len(m.Merges))
	for rank, raw := range m.Merges {
		left, right, err := parseMerge(raw)
		if err != nil {
			return fmt.Errorf("merge %d: %w", rank, err)
		}
		l, okLeft := m.Vocab[left]
		r, okRight := m.Vocab[right]
		joined, ok := m.Vocab[left+right]
		if !okLeft || !okRight || !ok {
			return fmt.Errorf("merge %d of %q and %q: not all of these pieces and their union are in the vocabulary", rank, left, right)
		}
		if _, twice := t.merges[[2]int32{l, r}]; !twice {
			t.merges[[2]int32{l, r}] = merge{rank, joined}
		}
	}
	return nil
}

// parseMerge reads "left right" or ["left", "right"].
func parseMerge(raw json.RawMessage) (left, right string, err error) {
	var pair [2]string
	if err := json.Unmarshal(raw, &pair); err == nil {
		return pair[0], pair[1], nil
	}
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return "", "", err
	}
	left, right, ok := strings.Cut(text, " ")
	if !ok {
		return "", "", fmt.Errorf("%q is not a pair", text)
	}
	return left, right, nil
}

func (t *tokenizer) readNormalizer(f *tokenizerFile) error {
	if f.Normalizer == nil {
		return nil
	}
	parts := f.Normalizer.Normalizers
	if f.Normalizer.Type != "Sequence" {
		parts = []component{*f.Normalizer}
	}
	for _, p := range parts {
		if p.Type != "NFC" {
			return fmt.Errorf("normalizer %s; supported: NFC", p.Type)
		}
		t.composed = true
	}
	return nil
}

func (t *tokenizer) readSplit(f *tokenizerFile) error {
	if f.PreTokenizer == nil {
		return errors.New("no pre_tokenizer; supported: one that ends with ByteLevel")
	}
	var err error
	t.split, err = f.PreTokenizer.steps()
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(t.split, func(s step) bool { return s.bytes }) {
		return errors.New("pre_tokenizer without ByteLevel; supported: one that ends with ByteLevel")
	}
	return nil
}

func (t *tokenizer) readAdded(f *tokenizerFile) error {
	t.addedByID = make(map[int32]addedToken, len(f.Added))
	for _, a := range f.Added {
		if a.LStrip || a.RStrip || a.SingleWord {
			return fmt.Errorf("added token %q has lstrip, rstrip or single_word; supported: none of them", a.Content)
		}
		if a.Content == "" {
			return fmt.Errorf("added token %d is empty", a.ID)
		}
		t.addedByID[a.ID] = a
	}
	t.added = slices.Clone(f.Added) // longest first, so that the longest match wins
	slices.SortStableFunc(t.added, func(a, b addedToken) int { return len(b.Content) - len(a.Content) })
	return nil
}

// id returns the id of a token by its text, added or not.
func (t *tokenizer) id(token string) (int32, bool) {
	for _, a := range t.added {
		if a.Content == token {
			return a.ID, true
		}
	}
	id, ok := t.vocab[token]
	return id, ok
}

// encode turns text into tokens; added tokens are found wherever their text stands.
func (t *tokenizer) encode(text string) ([]int32, error) {
	var ids []int32
	for len(text) > 0 {
		at, token := t.nextAdded(text)
		plain := text
		if at >= 0 {
			plain = text[:at]
		}
		var err error
		if ids, err = t.encodePlain(ids, plain); err != nil {
			return nil, err
		}
		if at < 0 {
			break
		}
		ids = append(ids, token.ID)
		text = text[at+len(token.Content):]
	}
	return ids, nil
}

// nextAdded finds the leftmost added token in text, the longest where several begin; -1 without one.
func (t *tokenizer) nextAdded(text string) (at int, token addedToken) {
	at = -1
	for _, a := range t.added {
		within := text
		if at >= 0 {
			within = text[:min(len(text), at+len(a.Content)-1)] // only a match further left is better
		}
		if i := strings.Index(within, a.Content); i >= 0 && (at < 0 || i < at) {
			at, token = i, a
		}
	}
	return at, token
}

// encodePlain appends the tokens of text without added tokens.
func (t *tokenizer) encodePlain(ids []int32, text string) ([]int32, error) {
	if t.composed {
		text = norm.NFC.String(text)
	}
	words := []string{text}
	for _, s := range t.split {
		var err error
		if words, err = s.apply(words); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrTokenizer, err)
		}
	}
	for _, word := range words {
		var err error
		if ids, err = t.encodeWord(ids, word); err != nil {
			return nil, err
		}
	}
	return ids, nil
}

// encodeWord appends the tokens of one word: its bytes, joined pair by pair in the order of the merges' ranks, the
// leftmost first among equals (Sennrich et al., arXiv 1508.07909).
func (t *tokenizer) encodeWord(ids []int32, word string) ([]int32, error) {
	if id, ok := t.vocab[word]; ok && t.whole {
		return append(ids, id), nil
	}
	start := len(ids)
	for _, letter := range word {
		id, ok := t.vocab[string(letter)]
		if !ok {
			return nil, fmt.Errorf("%w: %q cannot be written: the vocabulary lacks %q", ErrTokenizer, decodeBytes(word), decodeBytes(string(letter)))
		}
		ids = append(ids, id)
	}
	for {
		best, at := merge{rank: -1}, -1
		for i := start; i+1 < len(ids); i++ {
			if m, ok := t.merges[[2]int32{ids[i], ids[i+1]}]; ok && (at < 0 || m.rank < best.rank) {
				best, at = m, i
			}
		}
		if at < 0 {
			return ids, nil
		}
		ids[at] = best.result
		ids = slices.Delete(ids, at+1, at+2)
	}
}

// decode turns tokens into text, special tokens left out. Bytes that are no UTF-8 become U+FFFD.
func (t *tokenizer) decode(ids []int32) string {
	var b []byte
	for _, id := range ids {
		if a, ok := t.addedByID[id]; ok {
			if !a.Special {
				b = append(b, a.Content...)
			}
			continue
		}
		b = append(b, decodeBytes(t.pieces[id])...)
	}
	if utf8.Valid(b) {
		return string(b)
	}
	return strings.ToValidUTF8(string(b), "\uFFFD")
}
