package runs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing/fstest"
	"time"

	"multiattempt/activities"
	"multiattempt/internal/blob"
	"multiattempt/internal/chat"
	"multiattempt/internal/checkpoint"
	"multiattempt/internal/dataset"
	"multiattempt/internal/evaluate"
	"multiattempt/internal/rollout"
	"multiattempt/internal/source"
	"multiattempt/internal/spec"
)

// Spec returns the run's resolved settings, the newest if there are several; ErrNone when there are none.
func (r *Run) Spec(ctx context.Context) (spec.Run, error) {
	var newest blob.Info
	err := r.reader.store.List(ctx, activities.SpecPrefix(r.Name), func(o blob.Info) error {
		if newest.Key == "" || o.Modified.After(newest.Modified) {
			newest = o
		}
		return nil
	})
	if err != nil {
		return spec.Run{}, err
	}
	if newest.Key == "" {
		return spec.Run{}, fmt.Errorf("settings of run %s: %w", r.Name, ErrNone)
	}
	b, err := blob.Read(ctx, r.reader.store, newest.Key)
	if err != nil {
		return spec.Run{}, err
	}
	var s spec.Run
	if err := json.Unmarshal(b, &s); err != nil {
		return s, fmt.Errorf("decode %s: %w", newest.Key, err)
	}
	return s, nil
}

// Setting is one field of a run's settings beside what it would be without the user's changes.
type Setting struct {
	Path    string // update.clip
	Value   string
	Usual   string // of the preset, or by default
	Changed bool
}

// Settings lists every field of a run's settings in the order of the specification, and marks those that differ from its
// preset; without one, from the defaults.
func Settings(s spec.Run, presets fs.FS) ([]Setting, error) {
	doc, err := json.Marshal(map[string]string{"preset": s.Preset})
	if err != nil {
		return nil, err
	}
	if s.Preset == "" {
		doc = []byte("{}")
	}
	usual, err := spec.Resolve(doc, presets)
	if err != nil { // the preset is another program's: everything is shown, nothing is marked
		usual = s
	}
	ours, err := flatten(s)
	if err != nil {
		return nil, err
	}
	theirs, err := flatten(usual)
	if err != nil {
		return nil, err
	}
	was := make(map[string]string, len(theirs))
	for _, t := range theirs {
		was[t.Path] = t.Value
	}
	for i := range ours {
		ours[i].Usual = was[ours[i].Path]
		ours[i].Changed = ours[i].Usual != ours[i].Value && ours[i].Path != "name"
	}
	return ours, nil
}

// flatten lists the leaves of v's JSON in their order; a list is a leaf.
func flatten(v any) ([]Setting, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var all []Setting
	return all, walk(json.NewDecoder(strings.NewReader(string(b))), "", &all)
}

func walk(d *json.Decoder, at string, all *[]Setting) error {
	var raw json.RawMessage
	if err := d.Decode(&raw); err != nil {
		return err
	}
	if len(raw) == 0 || raw[0] != '{' {
		value := string(raw)
		var text string
		if json.Unmarshal(raw, &text) == nil {
			value = text
		}
		*all = append(*all, Setting{Path: at, Value: value})
		return nil
	}
	inner := json.NewDecoder(strings.NewReader(string(raw)))
	if _, err := inner.Token(); err != nil {
		return err
	}
	for inner.More() {
		key, err := inner.Token()
		if err != nil {
			return err
		}
		below := fmt.Sprint(key)
		if at != "" {
			below = at + "." + below
		}
		if err := walk(inner, below, all); err != nil {
			return err
		}
	}
	return nil
}

// Checkpoint is a checkpoint with what points at it and the size of its parts.
type Checkpoint struct {
	checkpoint.Ref
	Bytes  int64
	Latest bool
	Best   bool
	Score  float64         // of Best
	Parent *checkpoint.Ref // of a fork
}

// Checkpoints lists the run's checkpoints, ascending by step; what cannot be read is a Fault.
func (r *Run) Checkpoints(ctx context.Context) ([]Checkpoint, []Fault, error) {
	refs, err := checkpoint.List(ctx, r.reader.store, r.Name)
	if err != nil {
		return nil, nil, err
	}
	var faults []Fault
	latest, best := r.target(ctx, checkpoint.Latest, &faults), r.target(ctx, checkpoint.Best, &faults)
	all := make([]Checkpoint, 0, len(refs))
	for _, ref := range refs {
		c := Checkpoint{Ref: ref, Latest: latest.Checkpoint.Step == ref.Step, Best: best.Checkpoint.Step == ref.Step}
		if c.Best {
			c.Score = best.Score
		}
		m, err := checkpoint.LoadManifest(ctx, r.reader.store, ref)
		if err != nil {
			faults = append(faults, Fault{What: fmt.Sprintf("checkpoint of step %d", ref.Step), Err: err})
		}
		for _, f := range m.Files {
			c.Bytes += f.Ref.Size
		}
		c.Parent = m.Parent
		all = append(all, c)
	}
	return all, faults, nil
}

func (r *Run) target(ctx context.Context, p checkpoint.Pointer, faults *[]Fault) checkpoint.Target {
	t, err := checkpoint.Resolve(ctx, r.reader.store, r.Name, p)
	if err != nil && !errors.Is(err, checkpoint.ErrNone) {
		*faults = append(*faults, Fault{What: "pointer " + string(p), Err: err})
	}
	return t
}

// Best returns the highest score of the run's evaluations so far and its step; ok is false before the first.
func (r *Run) Best(ctx context.Context) (score float64, step int, ok bool) {
	t, err := checkpoint.Resolve(ctx, r.reader.store, r.Name, checkpoint.Best)
	return t.Score, t.Checkpoint.Step, err == nil
}

// Evaluation is the score table of a step.
type Evaluation struct {
	Step     int
	Key      string
	Modified time.Time
	Result   *evaluate.Result
}

// Evaluations returns the run's evaluations, ascending by step and then by time; what cannot be read is a Fault.
func (r *Run) Evaluations(ctx context.Context) ([]Evaluation, []Fault, error) {
	var all []Evaluation
	err := r.reader.store.List(ctx, activities.EvaluationPrefix(r.Name), func(o blob.Info) error {
		if !strings.HasPrefix(path.Base(o.Key), "result-") {
			return nil
		}
		step, err := strconv.Atoi(path.Base(path.Dir(o.Key)))
		if err == nil {
			all = append(all, Evaluation{Step: step, Key: o.Key, Modified: o.Modified})
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	var faults []Fault
	for i := range all {
		b, err := blob.Read(ctx, r.reader.store, all[i].Key)
		if err == nil {
			all[i].Result, err = evaluate.Decode(b)
		}
		if err != nil {
			faults = append(faults, Fault{What: fmt.Sprintf("evaluation of step %d", all[i].Step), Err: err})
		}
	}
	all = slices.DeleteFunc(all, func(e Evaluation) bool { return e.Result == nil })
	slices.SortStableFunc(all, func(a, b Evaluation) int {
		if a.Step != b.Step {
			return a.Step - b.Step
		}
		return a.Modified.Compare(b.Modified)
	})
	return all, faults, nil
}

// EvaluationEpisodes reads the episodes of an evaluation on one set at k attempts, ascending by problem.
func (r *Run) EvaluationEpisodes(ctx context.Context, step int, set string, k int) ([]rollout.Episode, error) {
	var shards []blob.Ref
	seen := map[string]bool{}
	prefix := activities.EvaluationEpisodesPrefix(r.Name, step, set, k)
	err := r.reader.store.List(ctx, prefix, func(o blob.Info) error {
		number, _, _ := strings.Cut(o.Key[len(prefix):], "-")
		if seen[number] { // of a worker that was given up for dead
			return nil
		}
		seen[number] = true
		described, err := r.reader.store.Stat(ctx, o.Key)
		shards = append(shards, blob.Ref{Key: o.Key, SHA256: described.SHA256, Size: described.Size})
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(shards) == 0 {
		return nil, fmt.Errorf("dialogues of run %s after step %d on %s at k = %d: %w", r.Name, step, set, k, ErrNone)
	}
	episodes, err := activities.LoadEpisodes(ctx, r.reader.store, shards)
	slices.SortStableFunc(episodes, func(a, b rollout.Episode) int { return a.Index - b.Index })
	return episodes, err
}

// Data says which problems the run is trained on and evaluated with; ErrNone when that was not recorded.
func (r *Run) Data(ctx context.Context) (dataset.Identity, error) {
	var id dataset.Identity
	var newest blob.Info
	err := r.reader.store.List(ctx, activities.DataPrefix(r.Name), func(o blob.Info) error {
		if newest.Key == "" || o.Modified.After(newest.Modified) {
			newest = o
		}
		return nil
	})
	if err != nil {
		return id, err
	}
	if newest.Key == "" {
		return id, fmt.Errorf("data of run %s: %w", r.Name, ErrNone)
	}
	b, err := blob.Read(ctx, r.reader.store, newest.Key)
	if err != nil {
		return id, err
	}
	return id, json.Unmarshal(b, &id)
}

// Tokenizer reads the tokenizer of the run's model as of a step.
func (r *Run) Tokenizer(ctx context.Context, step int) (*chat.Template, error) {
	record, ok := r.Record(step)
	if !ok {
		return nil, fmt.Errorf("step %d of run %s: %w", step, r.Name, ErrNone)
	}
	folder, err := blob.LoadFolder(ctx, r.reader.store, record.Policy.Folder)
	if err != nil {
		return nil, err
	}
	files := fstest.MapFS{}
	for _, f := range folder.Files {
		if source.IsWeights(f.Name) {
			continue
		}
		b, err := blob.Load(ctx, r.reader.store, f.Ref)
		if err != nil {
			return nil, err
		}
		files[f.Name] = &fstest.MapFile{Data: b}
	}
	return chat.LoadFS(files)
}
