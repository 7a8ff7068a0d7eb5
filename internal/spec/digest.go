package spec

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// Digest identifies what the run computes: the SHA-256, in hexadecimal, of the settings' JSON without the fields that
// influence no result (preset, whose settings are spelled out, and name).
func (r Run) Digest() (string, error) {
	r.Preset, r.Name = "", ""
	return digest(r)
}

// Digest is Run.Digest for fine-tuning.
func (f Finetune) Digest() (string, error) {
	f.Preset, f.Name = "", ""
	return digest(f)
}

func digest(v any) (string, error) {
	b, err := json.Marshal(v) // struct fields in their order: the same bytes for the same settings
	if err != nil {
		return "", fmt.Errorf("digest of settings: %w", err)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]), nil
}
