package endpoint

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"multiattempt/internal/spec"
)

// ErrSecret: the secret that a run names is not on this machine, or cannot be a header's value. Its own text is in no message.
var ErrSecret = errors.New("no secret for the endpoint of rewards")

// mostSecret bounds a secret, in bytes.
const mostSecret = 8 << 10

// Secret reads the secret that r names; empty when it names none. It is read anew for each iteration, so that it may change
// while a run goes on.
func (c Connection) Secret(r spec.Reward) (string, error) {
	if r.Secret == "" {
		return "", nil
	}
	var text string
	if name, ok := strings.CutPrefix(r.Secret, spec.SecretVariable); ok {
		if text = os.Getenv(name); text == "" {
			return "", fmt.Errorf("%w: $%s is not set on this worker", ErrSecret, name)
		}
	} else {
		name := strings.TrimPrefix(r.Secret, spec.SecretFile)
		if c.SecretsDir == "" {
			return "", fmt.Errorf("%w: %s: rewards.secrets_dir is not set on this worker", ErrSecret, r.Secret)
		}
		b, err := os.ReadFile(filepath.Join(c.SecretsDir, filepath.Base(name)))
		if err != nil {
			return "", fmt.Errorf("%w: %w", ErrSecret, err)
		}
		text = string(b)
	}
	text = strings.TrimSpace(text)
	if printable := strings.IndexFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) < 0; text == "" || len(text) > mostSecret || !printable {
		return "", fmt.Errorf("%w: %s is not one line of printable ASCII", ErrSecret, r.Secret)
	}
	return text, nil
}

// leastRedacted is the length of a secret's word that is looked for by itself: shorter ones are not secrets but schemes.
const leastRedacted = 8

// redacted is err without the secret, should an endpoint or a proxy have repeated it.
func (s *Source) redacted(err error) error {
	if err == nil || s.secret == "" {
		return err
	}
	text := strings.ReplaceAll(err.Error(), s.secret, "[redacted]")
	for word := range strings.FieldsSeq(s.secret) {
		if len(word) >= leastRedacted {
			text = strings.ReplaceAll(text, word, "[redacted]")
		}
	}
	if text == err.Error() {
		return err
	}
	return errors.New(text)
}
