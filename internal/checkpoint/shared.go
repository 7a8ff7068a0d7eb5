package checkpoint

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"multiattempt/internal/blob"
)

// SharedPrefix is where objects lie that belong to no run: model folders and their files, under keys that hold their digests.
const SharedPrefix = "blobs/"

// SharedAudit is what a look at the objects that belong to no run found.
type SharedAudit struct {
	Objects int
	Bytes   int64
	Orphans []blob.Info // old enough, and referred to by nothing of any run; in the order of keys
}

// ErrUnreadable: what an object refers to cannot be known, so nothing can be called left over.
var ErrUnreadable = errors.New("nothing is called left over while this object cannot be read: restore it, or erase its run")

// InspectShared finds the shared objects that nothing of any run refers to, be the run over or under way: neither a JSON object
// of a run, directly or through a folder's list, nor a setting that names a model by reference, nor a checkpoint, whose policy's
// list is a shared object. It changes nothing. Objects younger than before, or than blob.CollectAfter, are spared: somebody may
// be about to refer to them.
func InspectShared(ctx context.Context, s blob.Store, before time.Time) (SharedAudit, error) {
	var found SharedAudit
	have := map[string]blob.Info{}
	err := s.List(ctx, SharedPrefix, func(i blob.Info) error {
		have[i.Key] = i
		found.Objects, found.Bytes = found.Objects+1, found.Bytes+i.Size
		return nil
	})
	if err != nil {
		return found, err
	}
	if limit := time.Now().Add(-blob.CollectAfter); before.After(limit) {
		before = limit
	}
	// References are read after the list was made: what is referred to from now on was renewed, and is young.
	m := marking{store: s, have: have, marked: map[string]bool{}}
	if err := m.all(ctx); err != nil {
		return found, err
	}
	for key, i := range have {
		if !m.marked[key] && i.Modified.Before(before) {
			found.Orphans = append(found.Orphans, i)
		}
	}
	slices.SortFunc(found.Orphans, func(x, y blob.Info) int { return strings.Compare(x.Key, y.Key) })
	return found, nil
}

// marking finds what is referred to.
type marking struct {
	store  blob.Store
	have   map[string]blob.Info // shared objects
	marked map[string]bool
}

// all marks what any object outside SharedPrefix refers to.
func (m *marking) all(ctx context.Context) error {
	var texts []string
	err := m.store.List(ctx, "", func(i blob.Info) error {
		if strings.HasSuffix(i.Key, ".json") && !strings.HasPrefix(i.Key, SharedPrefix) {
			texts = append(texts, i.Key)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, key := range texts {
		b, err := blob.Read(ctx, m.store, key)
		if errors.Is(err, blob.ErrNotFound) {
			continue // deleted since it was listed
		}
		if err == nil && !json.Valid(b) {
			err = blob.ErrCorrupt
		}
		if err != nil {
			return fmt.Errorf("%s: %w: %w", key, ErrUnreadable, err)
		}
		if err := m.text(ctx, b); err != nil {
			return err
		}
		if _, _, ok := ParseKey(key); ok || candidates.MatchString(key) { // a candidate may be committed yet
			if err := m.policy(ctx, b); err != nil {
				return fmt.Errorf("%s: %w: %w", key, ErrUnreadable, err)
			}
		}
	}
	return nil
}

var candidates = regexp.MustCompile(`^runs/.*/checkpoints/\d+/` + candidatePrefix + `[0-9a-f]+\.json$`)

// policy marks the list of a checkpoint's policy folder, by which workflows name the policy.
func (m *marking) policy(ctx context.Context, manifest []byte) error {
	var parsed Manifest
	if err := json.Unmarshal(manifest, &parsed); err != nil {
		return err
	}
	key, err := parsed.Folder(PolicyDir).Key()
	if err != nil {
		return err
	}
	return m.object(ctx, key)
}

// text marks what a JSON text refers to.
func (m *marking) text(ctx context.Context, b []byte) error {
	if !bytes.Contains(b, []byte(SharedPrefix)) { // most texts
		return nil
	}
	for _, ref := range references(b) {
		if err := m.object(ctx, ref.Key); err != nil {
			return err
		}
	}
	for _, match := range named.FindAllSubmatch(b, -1) {
		if err := m.object(ctx, string(match[1])); err != nil {
			return err
		}
	}
	return nil
}

// named are the shared objects that settings name, as model.source has it: ref:KEY@SHA256:SIZE.
var named = regexp.MustCompile(`"ref:(` + SharedPrefix + `[0-9a-f]{2}/[0-9a-f]{64})@`)

// object marks a shared object and, when it is a folder's list, what the list names.
func (m *marking) object(ctx context.Context, key string) error {
	i, ok := m.have[key]
	if !ok || m.marked[key] {
		return nil
	}
	m.marked[key] = true
	if i.Size > maxList {
		return nil
	}
	b, err := blob.Read(ctx, m.store, key)
	if errors.Is(err, blob.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w: %w", key, ErrUnreadable, err)
	}
	return m.text(ctx, b) // a file that is no list has no references
}

// maxList bounds a folder's list; larger objects are files.
const maxList = 1 << 20

// CollectShared deletes the shared objects that an inspection called left over, except those that were renewed since. It
// returns how many went. One that is renewed in the milliseconds between the look and the deletion goes, and is missed loudly
// by whoever renewed it; no conditional deletion tells a renewal, which writes the same bytes and so the same ETag.
func CollectShared(ctx context.Context, s blob.Store, found SharedAudit) (deleted int, err error) {
	for _, o := range found.Orphans {
		now, err := s.Stat(ctx, o.Key)
		renewed := err == nil && now.Modified.Sub(o.Modified) > blob.RenewAfter/2 // stores round times in their own ways
		if errors.Is(err, blob.ErrNotFound) || renewed {
			continue
		}
		if err == nil {
			err = s.Delete(ctx, o.Key)
		}
		if err != nil {
			return deleted, fmt.Errorf("delete shared object: %w", err)
		}
		deleted++
	}
	return deleted, nil
}
