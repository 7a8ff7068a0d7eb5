package checkpoint

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"multiattempt/internal/blob"
)

// Fault is an object that is not what something refers to.
type Fault struct {
	Key  string
	From string // the key of the object that refers to it
	Err  error  // matches blob.ErrNotFound or blob.ErrCorrupt, ErrForeign or ErrNewer
}

// Audit is what a look at the whole of one run found.
type Audit struct {
	Run         string
	Checkpoints int
	Objects     int         // below the run's prefix
	Bytes       int64       // of them
	Faults      []Fault     // in the order of keys
	Orphans     []blob.Info // of finished steps, referred to by nothing
}

// AuditOptions say how closely to look.
type AuditOptions struct {
	// Read reads every object that is referred to and compares digests; otherwise only what refers to others is read.
	Read bool
	// Before: younger objects are no orphans, since a worker may be about to refer to them.
	Before time.Time
}

// Runs lists the names below which the store has anything, ascending.
func Runs(ctx context.Context, s blob.Store) ([]string, error) {
	var runs []string
	err := s.List(ctx, "runs/", func(o blob.Info) error {
		run, _, ok := strings.Cut(strings.TrimPrefix(o.Key, "runs/"), "/")
		if ok && (len(runs) == 0 || runs[len(runs)-1] != run) {
			runs = append(runs, run)
		}
		return nil
	})
	slices.Sort(runs)
	return slices.Compact(runs), err
}

// Inspect follows every reference from what a run keeps for good and reports what is missing, corrupt, or left over. It
// changes nothing. Left over are only objects of steps up to the newest checkpoint, parts and candidates of checkpoints among
// them: nothing that happens from now on can refer to them any more.
func Inspect(ctx context.Context, s blob.Store, run string, o AuditOptions) (Audit, error) {
	a := audit{Audit: Audit{Run: run}, store: s, options: o, have: map[string]blob.Info{}, seen: map[string]bool{}, unknown: map[int]bool{}}
	// Before the listing, which then has every manifest up to this step.
	if t, err := Resolve(ctx, s, run, Latest); err == nil {
		a.latest = t.Checkpoint.Step
	} else if !errors.Is(err, ErrNone) {
		a.fault(Latest.key(run), "", err)
	}
	err := s.List(ctx, "runs/"+run+"/", func(i blob.Info) error {
		a.have[i.Key] = i
		a.Objects, a.Bytes = a.Objects+1, a.Bytes+i.Size
		return nil
	})
	if err != nil {
		return a.Audit, err
	}
	for key := range a.have {
		if _, of := a.working(key); of && !evidence.MatchString(key) {
			continue
		}
		a.seen[key] = true
		if err := a.root(ctx, key); err != nil {
			return a.Audit, err
		}
	}
	for key, i := range a.have {
		step, of := a.working(key)
		if of && step <= a.latest && !a.seen[key] && !a.unread(key, step) && i.Modified.Before(o.Before) {
			a.Orphans = append(a.Orphans, i)
		}
	}
	slices.SortFunc(a.Orphans, func(x, y blob.Info) int { return strings.Compare(x.Key, y.Key) })
	slices.SortFunc(a.Faults, func(x, y Fault) int { return strings.Compare(x.Key, y.Key) })
	return a.Audit, nil
}

// audit is an inspection under way.
type audit struct {
	Audit
	store   blob.Store
	options AuditOptions
	latest  int
	have    map[string]blob.Info
	seen    map[string]bool // referred to
	unknown map[int]bool    // steps with manifests that cannot be read: which parts are theirs is not known
}

var (
	// evidence of a step that failed, for people.
	evidence = regexp.MustCompile(`^runs/[^/]+/steps/\d+/bad-batch-`)
	// weights of a step, which the next checkpoint makes superfluous and deletes.
	weights = regexp.MustCompile(`^runs/[^/]+/steps/\d+/policy/`)
)

// working returns the step whose working objects, or whose checkpoint's parts, key belongs to: what counts only while
// something refers to it.
func (a *audit) working(key string) (int, bool) {
	if step, ok := stepOf(key, "runs/"+a.Run+"/steps/"); ok {
		return step, true
	}
	step, ok := stepOf(key, Prefix(a.Run))
	return step, ok && key != Key(a.Run, step)
}

// stepOf returns the step in prefix/STEP/….
func stepOf(key, prefix string) (int, bool) {
	rest, ok := strings.CutPrefix(key, prefix)
	digits, _, cut := strings.Cut(rest, "/")
	n, err := strconv.Atoi(digits)
	return n, ok && cut && err == nil
}

func (a *audit) unread(key string, step int) bool {
	return a.unknown[step] && strings.HasPrefix(key, Prefix(a.Run))
}

func (a *audit) fault(key, from string, err error) {
	a.Faults = append(a.Faults, Fault{Key: key, From: from, Err: err})
}

// root follows what an object that is kept for its own sake refers to.
func (a *audit) root(ctx context.Context, key string) error {
	if !strings.HasSuffix(key, ".json") {
		return nil
	}
	b, _, err := readSmall(ctx, a.store, key)
	if errors.Is(err, blob.ErrNotFound) {
		return nil // deleted since it was listed
	}
	if err != nil {
		return a.note(ctx, key, "", err)
	}
	if run, step, ok := ParseKey(key); ok {
		a.Checkpoints++
		ref := Ref{Run: run, Step: step, Ref: blob.Ref{Key: key, SHA256: blob.Sum(b), Size: int64(len(b))}}
		if _, err := parse(ref, b); err != nil {
			a.unknown[step] = true
			return a.note(ctx, key, "", err)
		}
		a.seen[candidateKey(run, step, ref.SHA256)] = true
	}
	if step, ok := recordStep(key); ok { // the copy of which it was made, which the run's status names
		a.seen[fmt.Sprintf("runs/%s/steps/%06d/record-%s.json", a.Run, step, blob.Sum(b).Short())] = true
	}
	return a.follow(ctx, key, b)
}

func recordStep(key string) (int, bool) {
	_, name, ok := strings.Cut(key, "/records/")
	step, err := strconv.Atoi(strings.TrimSuffix(name, ".json"))
	return step, ok && err == nil
}

// follow checks every object of this run that a JSON text refers to, and what these refer to in their turn. What is to be
// had elsewhere, the parent of a fork or a step's weights after the next checkpoint, may be gone.
func (a *audit) follow(ctx context.Context, from string, text []byte) error {
	for _, ref := range references(text) {
		if a.seen[ref.Key] {
			continue
		}
		a.seen[ref.Key] = true
		mayBeGone := weights.MatchString(ref.Key) || !strings.HasPrefix(ref.Key, "runs/"+a.Run+"/") && !strings.HasPrefix(ref.Key, SharedPrefix)
		if err := a.check(ctx, ref, from, mayBeGone); err != nil {
			return err
		}
	}
	return nil
}

func (a *audit) check(ctx context.Context, ref blob.Ref, from string, mayBeGone bool) error {
	// A folder's list lies under a key without an extension and is small.
	list := strings.HasSuffix(ref.Key, ".json") || strings.HasPrefix(ref.Key, SharedPrefix) && ref.Size <= maxList
	switch {
	case list:
		b, err := blob.Load(ctx, a.store, ref)
		if err == nil {
			return a.follow(ctx, ref.Key, b)
		}
		if mayBeGone && errors.Is(err, blob.ErrNotFound) {
			return nil
		}
		return a.note(ctx, ref.Key, from, err)
	case a.options.Read:
		err := getFile(ctx, a.store, ref, os.DevNull)
		if mayBeGone && errors.Is(err, blob.ErrNotFound) {
			return nil
		}
		return a.note(ctx, ref.Key, from, err)
	}
	i, err := a.store.Stat(ctx, ref.Key)
	switch {
	case mayBeGone && errors.Is(err, blob.ErrNotFound):
		return nil
	case err == nil && (i.Size != ref.Size || !i.SHA256.IsZero() && i.SHA256 != ref.SHA256):
		err = &blob.CorruptError{Key: ref.Key, Want: ref.SHA256, Got: i.SHA256, WantSize: ref.Size, GotSize: i.Size}
	}
	return a.note(ctx, ref.Key, from, err)
}

// note records what is wrong with an object. An error of the store itself ends the inspection.
func (a *audit) note(ctx context.Context, key, from string, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	for _, fault := range []error{blob.ErrNotFound, blob.ErrCorrupt, ErrForeign, ErrNewer} {
		if errors.Is(err, fault) {
			a.fault(key, from, err)
			return nil
		}
	}
	return err
}

// references finds every {key, sha256, size} in a JSON text, wherever it stands.
func references(text []byte) (found []blob.Ref) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var tree any
	if d.Decode(&tree) != nil {
		return nil
	}
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				walk(e)
			}
		case map[string]any:
			if ref, ok := asReference(v); ok {
				found = append(found, ref)
				return
			}
			for _, e := range v {
				walk(e)
			}
		}
	}
	walk(tree)
	return found
}

func asReference(v map[string]any) (ref blob.Ref, ok bool) {
	key, isText := v["key"].(string)
	digest, isDigest := v["sha256"].(string)
	size, isNumber := v["size"].(json.Number)
	if !isText || !isDigest || !isNumber || key == "" {
		return ref, false
	}
	n, err := size.Int64()
	if err != nil {
		return ref, false
	}
	sum, err := blob.ParseDigest(digest)
	return blob.Ref{Key: key, SHA256: sum, Size: n}, err == nil
}

// Collect deletes the orphans that an inspection found.
func Collect(ctx context.Context, s blob.Store, a Audit) error {
	for _, o := range a.Orphans {
		if err := s.Delete(ctx, o.Key); err != nil {
			return fmt.Errorf("delete orphan: %w", err)
		}
	}
	return nil
}
