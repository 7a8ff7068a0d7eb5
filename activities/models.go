package activities

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"multiattempt/internal/blob"
)

// policyDigest is the digest of a folder's names and contents, wherever its files are kept.
func policyDigest(f blob.Folder) blob.Digest {
	h := sha256.New()
	for _, file := range f.Files {
		fmt.Fprintf(h, "%s %s\n", file.Name, file.Ref.SHA256)
	}
	return blob.Digest(h.Sum(nil))
}

// storeFolder stores a folder's list content-addressed and returns the policy that it names.
func storeFolder(ctx context.Context, s blob.Store, f blob.Folder) (Policy, error) {
	ref, err := blob.PutFolder(ctx, s, f)
	if err != nil {
		return Policy{}, fmt.Errorf("store model folder: %w", err)
	}
	return Policy{Folder: ref, Digest: policyDigest(f)}, nil
}

// UploadModel stores a model folder content-addressed.
func UploadModel(ctx context.Context, s blob.Store, files fs.FS) (Policy, error) {
	ref, err := blob.Upload(ctx, s, files)
	if err != nil {
		return Policy{}, err
	}
	return policyOf(ctx, s, ref)
}

// policyOf names the policy in a stored folder.
func policyOf(ctx context.Context, s blob.Store, ref blob.Ref) (Policy, error) {
	f, err := blob.LoadFolder(ctx, s, ref)
	if err != nil {
		return Policy{}, err
	}
	return Policy{Folder: ref, Digest: policyDigest(f)}, nil
}

// publish stores the model folder in dir as a step's policy. Files that before has with the same bytes are not stored
// again: tokenizers do not change, and held-still weights neither.
func publish(ctx context.Context, s blob.Store, run string, step int, dir string, before Policy) (Policy, error) {
	known, err := blob.LoadFolder(ctx, s, before.Folder)
	if err != nil {
		return Policy{}, err
	}
	var f blob.Folder
	err = eachFile(dir, func(name, path string) error {
		ref, err := publishFile(ctx, s, weightsKey(run, step), name, path, known)
		f = f.With(name, ref)
		return err
	})
	if err != nil {
		return Policy{}, fmt.Errorf("publish policy of step %d: %w", step, err)
	}
	list, err := json.Marshal(f)
	if err != nil {
		return Policy{}, err
	}
	ref, err := blob.PutAs(ctx, s, named(weightsKey(run, step), "folder", ".json", list), list)
	return Policy{Folder: ref, Digest: policyDigest(f)}, err
}

// publishFile stores a file as dir/DIGEST/name, unless known has it. The file is read once for its digest and once to be
// stored: weights need not fit into memory beside the learner.
func publishFile(ctx context.Context, s blob.Store, dir, name, path string, known blob.Folder) (blob.Ref, error) {
	digest, size, err := blob.SumFile(path)
	if err != nil {
		return blob.Ref{}, err
	}
	if ref, ok := known.File(name); ok && ref.SHA256 == digest && ref.Size == size {
		return ref, nil
	}
	ref := blob.Ref{Key: fmt.Sprintf("%s/%s/%s", dir, digest.Short(), name), SHA256: digest, Size: size}
	return ref, blob.EnsureFile(ctx, s, ref, path)
}

// Unpublish deletes the weights published after a step, which a checkpoint holds and nobody rolls out any more.
func (d *Data) Unpublish(ctx context.Context, in UnpublishInput) error {
	return failure(unpublish(ctx, d.store, in.Run, in.Step))
}

// unpublish deletes the weights published after a step. A checkpoint must hold whatever is still needed of them.
func unpublish(ctx context.Context, s blob.Store, run string, step int) error {
	var keys []string
	err := s.List(ctx, weightsKey(run, step)+"/", func(o blob.Info) error {
		keys = append(keys, o.Key)
		return nil
	})
	for _, key := range keys {
		err = errors.Join(err, s.Delete(ctx, key))
	}
	return err
}

// eachFile calls visit for every regular file below dir, ascending by slash-separated name.
func eachFile(dir string, visit func(name, path string) error) error {
	return fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		return visit(name, filepath.Join(dir, filepath.FromSlash(name)))
	})
}

// modelsKept is the number of model folders that a worker keeps on disk while nobody uses them.
const modelsKept = 4

// Models keeps model folders of the store on the local disk, each fetched once, under a directory of this process alone.
type Models struct {
	store blob.Store
	dir   string

	mu    sync.Mutex
	have  map[blob.Digest]*kept
	clock int
}

// kept is a folder that is there, or on its way.
type kept struct {
	dir   string
	users int           // those that wait for it included
	used  int           // clock of the last use
	there chan struct{} // closed when the fetch ended
	whole bool          // it succeeded; not to be read before there is closed
}

// NewModels returns an empty cache below dir, which belongs to the caller's process alone and is emptied.
func NewModels(store blob.Store, dir string) (*Models, error) {
	if err := os.RemoveAll(dir); err != nil {
		return nil, fmt.Errorf("empty the model cache: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the model cache: %w", err)
	}
	return &Models{store: store, dir: dir, have: map[blob.Digest]*kept{}}, nil
}

// Use returns a folder on disk with the policy's files, which stays until release is called. Users of one model share one
// download; when it fails, or who began it gives up, the next one begins anew.
func (m *Models) Use(ctx context.Context, p Policy) (dir string, release func(), err error) {
	for {
		k, mine := m.claim(p)
		if mine {
			err = m.fetch(ctx, p, k)
		} else {
			select {
			case <-k.there:
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
		if err != nil {
			m.release(k)
			return "", nil, err
		}
		if k.whole {
			return k.dir, sync.OnceFunc(func() { m.release(k) }), nil
		}
		m.release(k)
	}
}

// claim counts one more user of a model; mine says that the caller is to fetch it.
func (m *Models) claim(p Policy) (k *kept, mine bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if k = m.have[p.Digest]; k == nil {
		k, mine = &kept{dir: m.path(p), there: make(chan struct{})}, true
		m.have[p.Digest] = k
	}
	k.users++
	m.touch(k)
	return k, mine
}

func (m *Models) release(k *kept) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k.users--
	m.evict()
}

// Adopt takes over a folder that this process wrote and published, so that it need not be fetched. dir must not be used
// afterwards.
func (m *Models) Adopt(p Policy, dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.have[p.Digest] != nil {
		return os.RemoveAll(dir)
	}
	k := &kept{dir: m.path(p), there: make(chan struct{}), whole: true}
	if err := os.Rename(dir, k.dir); err != nil {
		return fmt.Errorf("adopt model folder: %w", err)
	}
	close(k.there)
	m.have[p.Digest] = k
	m.touch(k)
	m.evict()
	return nil
}

func (m *Models) path(p Policy) string { return filepath.Join(m.dir, p.Digest.String()) }

func (m *Models) touch(k *kept) {
	m.clock++
	k.used = m.clock
}

// fetch downloads a model and tells those that wait for it.
func (m *Models) fetch(ctx context.Context, p Policy, k *kept) error {
	err := m.download(ctx, p, k.dir)
	m.mu.Lock()
	defer m.mu.Unlock()
	if k.whole = err == nil; !k.whole {
		delete(m.have, p.Digest)
	}
	close(k.there)
	return err
}

func (m *Models) download(ctx context.Context, p Policy, to string) error {
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	f, err := blob.Download(ctx, m.store, p.Folder, to)
	if err != nil {
		return errors.Join(fmt.Errorf("fetch policy %s: %w", p.Digest.Short(), err), os.RemoveAll(to))
	}
	if got := policyDigest(f); got != p.Digest {
		return errors.Join(&blob.CorruptError{Key: p.Folder.Key, Want: p.Digest, Got: got, WantSize: p.Folder.Size, GotSize: p.Folder.Size}, os.RemoveAll(to))
	}
	return nil
}

// evict removes the folders that nobody uses, the longest unused first, beyond modelsKept.
func (m *Models) evict() {
	var idle []blob.Digest
	for d, k := range m.have {
		if k.users == 0 {
			idle = append(idle, d)
		}
	}
	slices.SortFunc(idle, func(a, b blob.Digest) int { return m.have[b].used - m.have[a].used })
	for i := modelsKept; i < len(idle); i++ {
		// What cannot be removed now is removed when the next process empties the cache.
		if os.RemoveAll(m.have[idle[i]].dir) == nil {
			delete(m.have, idle[i])
		}
	}
}

// ParseRef reads KEY@SHA256:SIZE, as spec.Model.Source has it after "ref:".
func ParseRef(text string) (blob.Ref, error) {
	key, rest, _ := strings.Cut(text, "@")
	digest, size, _ := strings.Cut(rest, ":")
	sum, err := blob.ParseDigest(digest)
	if err != nil {
		return blob.Ref{}, fmt.Errorf("%w: model.source ref:%s: %w", ErrModel, text, err)
	}
	n, err := strconv.ParseInt(size, 10, 64)
	if err != nil {
		return blob.Ref{}, fmt.Errorf("%w: model.source ref:%s: size: %w", ErrModel, text, err)
	}
	return blob.Ref{Key: key, SHA256: sum, Size: n}, nil
}
