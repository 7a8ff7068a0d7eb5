package chat

import (
	"fmt"
	"unicode/utf8"
)

// Pieces returns the text of each token by itself, special tokens included, for people who look at tokens one by one. Bytes
// that are only part of a character stand as <0xE2>; a number that is no token of the vocabulary as <token 7>.
func (t *Template) Pieces(ids []int32) []string {
	pieces := make([]string, len(ids))
	for i, id := range ids {
		if added, ok := t.tokenizer.addedByID[id]; ok {
			pieces[i] = added.Content
			continue
		}
		letters, ok := t.tokenizer.pieces[id]
		if !ok {
			pieces[i] = fmt.Sprintf("<token %d>", id)
			continue
		}
		text := decodeBytes(letters)
		if utf8.ValidString(text) {
			pieces[i] = text
			continue
		}
		for _, b := range []byte(text) {
			pieces[i] += fmt.Sprintf("<0x%02X>", b)
		}
	}
	return pieces
}
