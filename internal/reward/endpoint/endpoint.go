// Package endpoint asks an HTTP endpoint, written in any language, what episodes earned.
package endpoint

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"time"

	"multiattempt/internal/reward"
	"multiattempt/internal/rollout"
	"multiattempt/internal/spec"
)

// ErrEndpoint: the endpoint could not be reached, failed, took too long or answered something else than rewards. The
// iteration waits until it answers; nothing of the kind ever becomes a reward.
var ErrEndpoint = errors.New("no rewards from the endpoint")

// Version is that of the protocol, which docs/algorithms.md describes.
const Version = 1

// mostAnswer bounds what is read of an answer, in bytes.
const mostAnswer = 64 << 20

// Connection is what a worker's own settings say of reaching endpoints.
type Connection struct {
	Authorities *x509.CertPool // of endpoints' certificates; nil: the system's
	SecretsDir  string         // holds the files that spec.Reward.Secret may name; empty: there are none
}

// Source is a reward.Source over HTTP.
type Source struct {
	settings spec.Reward
	secret   string // value of the header settings.Header; empty: none is sent
	client   *http.Client
	// Pause waits before request number try (from 1) is repeated.
	Pause func(ctx context.Context, try int) error
	// Progress, when not nil, is told how many episodes are done.
	Progress func(done int)
}

var _ reward.Source = (*Source)(nil)

// New returns a source that asks r.Source. ErrSecret: the secret that it names is not here.
func New(r spec.Reward, c Connection) (*Source, error) {
	secret, err := c.Secret(r)
	if err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{RootCAs: c.Authorities, MinVersion: tls.VersionTLS12}
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse // a secret is for the address that the settings name
	}}
	return &Source{settings: r, secret: secret, client: client, Pause: pause}, nil
}

// Close closes the connections that are kept open.
func (s *Source) Close() { s.client.CloseIdleConnections() }

// pause doubles from half a second, up to ten.
func pause(ctx context.Context, try int) error {
	t := time.NewTimer(min(500*time.Millisecond<<min(try-1, 10), 10*time.Second))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// request and episode are what the endpoint is sent.
type request struct {
	Version  int       `json:"version"`
	Run      string    `json:"run"`
	Step     int       `json:"step"`
	Episodes []episode `json:"episodes"`
}

type episode struct {
	ProblemID string    `json:"problem_id"`
	Question  string    `json:"question"`
	Gold      string    `json:"gold"`
	Index     int       `json:"index"`
	Sample    int       `json:"sample"`
	Allowed   int       `json:"attempts_allowed"`
	Attempts  []attempt `json:"attempts"`
	Reward    float64   `json:"reward"` // of the outcomes, by the spec's own numbers
}

type attempt struct {
	Text    string          `json:"text"`
	Answer  string          `json:"answer"`
	Outcome rollout.Outcome `json:"outcome"`
	Tokens  int             `json:"tokens"`
	Repeats bool            `json:"repeats_an_earlier_answer"`
	Reward  float64         `json:"reward"`
}

// Reward implements reward.Source: requests of at most BatchSize episodes, one after another.
func (s *Source) Reward(ctx context.Context, b reward.Batch, outcomes []reward.Earned) ([]reward.Earned, error) {
	all := make([]reward.Earned, 0, len(b.Episodes))
	for from := 0; from < len(b.Episodes); from += s.settings.BatchSize {
		to := min(from+s.settings.BatchSize, len(b.Episodes))
		part := reward.Batch{Run: b.Run, Step: b.Step, Episodes: b.Episodes[from:to]}
		earned, err := s.ask(ctx, part, outcomes[from:to])
		if err != nil {
			return nil, fmt.Errorf("%w at %s, episodes %d to %d of %d: %w", ErrEndpoint, s.settings.Source, from+1, to, len(b.Episodes), err)
		}
		all = append(all, earned...)
		if s.Progress != nil {
			s.Progress(to)
		}
	}
	return all, nil
}

// ask sends one request, as often as Tries allows.
func (s *Source) ask(ctx context.Context, b reward.Batch, outcomes []reward.Earned) ([]reward.Earned, error) {
	body, err := json.Marshal(requestOf(b, outcomes))
	if err != nil {
		return nil, err
	}
	for try := 1; ; try++ {
		earned, err := s.post(ctx, body, b.Episodes)
		err = s.redacted(err)
		if err == nil || ctx.Err() != nil || try >= s.settings.Tries {
			return earned, err
		}
		if stop := s.Pause(ctx, try); stop != nil {
			return nil, errors.Join(err, stop)
		}
	}
}

func requestOf(b reward.Batch, outcomes []reward.Earned) request {
	r := request{Version: Version, Run: b.Run, Step: b.Step, Episodes: make([]episode, len(b.Episodes))}
	for i := range b.Episodes {
		e := &b.Episodes[i]
		out := episode{
			ProblemID: e.ProblemID, Question: e.Question, Gold: e.Gold, Index: e.Index, Sample: e.Sample, Allowed: e.MaxTries,
			Attempts: make([]attempt, len(e.Attempts)), Reward: outcomes[i].Episode,
		}
		for a, x := range e.Attempts {
			out.Attempts[a] = attempt{
				Text: x.Text, Answer: x.Answer, Outcome: x.Outcome, Tokens: x.End - x.Start, Repeats: a > 0 && e.Repeated(a),
				Reward: outcomes[i].Attempts[a],
			}
		}
		r.Episodes[i] = out
	}
	return r
}

// post sends a request once, within the time that one may take.
func (s *Source) post(ctx context.Context, body []byte, episodes []rollout.Episode) ([]reward.Earned, error) {
	limited, cancel := context.WithTimeout(ctx, time.Duration(s.settings.TimeoutSeconds*float64(time.Second)))
	defer cancel()
	req, err := http.NewRequestWithContext(limited, http.MethodPost, s.settings.Source, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	if s.secret != "" {
		req.Header.Set(s.settings.Header, s.secret)
	}
	answer, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close() //nolint:errcheck // read to its end or given up
	text, err := io.ReadAll(io.LimitReader(answer.Body, mostAnswer))
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %s: %.200s", answer.Status, text)
	}
	return parse(text, episodes)
}

// parse reads {"rewards": [x, …]}, one an episode: a number for the whole, or a list of one number an attempt, whose sum
// is the episode's.
func parse(text []byte, episodes []rollout.Episode) ([]reward.Earned, error) {
	var answer struct {
		Rewards []json.RawMessage `json:"rewards"`
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return nil, fmt.Errorf("the answer is no JSON object with rewards: %w", err)
	}
	if len(answer.Rewards) != len(episodes) {
		return nil, fmt.Errorf("%d rewards for %d episodes", len(answer.Rewards), len(episodes))
	}
	all := make([]reward.Earned, len(episodes))
	for i, raw := range answer.Rewards {
		var one *float64
		var each []*float64
		switch attempts := len(episodes[i].Attempts); {
		case json.Unmarshal(raw, &one) == nil && one != nil:
			all[i] = reward.Earned{Episode: *one}
		case json.Unmarshal(raw, &each) != nil || each == nil:
			return nil, fmt.Errorf("reward %d is %.60s; want a number, or a list of them", i, raw)
		case len(each) != attempts:
			return nil, fmt.Errorf("reward %d has %d numbers for %d attempts", i, len(each), attempts)
		default:
			all[i].Attempts = make([]float64, attempts)
			for a, x := range each {
				if x == nil {
					return nil, fmt.Errorf("reward %d is %.60s; want a number for each attempt", i, raw)
				}
				all[i].Attempts[a] = *x
				all[i].Episode += *x
			}
		}
		if math.IsInf(all[i].Episode, 0) {
			return nil, fmt.Errorf("reward %d is not finite", i)
		}
	}
	return all, nil
}
