package activities

import (
	"context"
	"sync"

	"multiattempt/internal/blob"
	"multiattempt/internal/chat"
	"multiattempt/internal/spec"
)

// samplersKept is the number of samplers whose weights stay on the device while nobody uses them.
const samplersKept = 1

// samplers keeps loaded policies by digest and type. The policy and the type that an activity names decide what samples; what
// happens to be loaded never does.
type samplers struct {
	engine Engine
	models *Models

	mu    sync.Mutex // held while loading: several shards of one policy wait for one load
	have  map[samplerKey]*loaded
	clock int
}

// samplerKey is what tells samplers apart.
type samplerKey struct {
	policy  blob.Digest
	compute spec.Compute
}

// loaded is a policy ready to sample.
type loaded struct {
	Sampler
	template *chat.Template
	info     ModelInfo
	release  func() // of the folder on disk
	users    int
	used     int
}

func newSamplers(engine Engine, models *Models) *samplers {
	return &samplers{engine: engine, models: models, have: map[samplerKey]*loaded{}}
}

// use returns a sampler of p that computes in a type, to be given back by calling done. One that must be loaded is shown to fits
// first, as a folder.
func (s *samplers) use(ctx context.Context, p Policy, compute spec.Compute, fits func(dir string) error) (l *loaded, done func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := samplerKey{p.Digest, compute}
	l = s.have[key]
	if l == nil {
		s.evict(samplersKept - 1) // make room before the new weights arrive
		if l, err = s.load(ctx, p, compute, fits); err != nil {
			return nil, nil, err
		}
		s.have[key] = l
	}
	l.users++
	s.clock++
	l.used = s.clock
	return l, sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		l.users--
		s.evict(samplersKept)
	}), nil
}

func (s *samplers) load(ctx context.Context, p Policy, compute spec.Compute, fits func(dir string) error) (*loaded, error) {
	dir, release, err := s.models.Use(ctx, p)
	if err != nil {
		return nil, err
	}
	l := &loaded{release: release}
	if err = fits(dir); err == nil {
		l.info, err = s.engine.Describe(dir)
	}
	if err == nil {
		l.template, err = chat.Load(dir)
	}
	if err == nil {
		l.Sampler, err = s.engine.NewSampler(ctx, dir, compute)
	}
	if err != nil {
		release()
		return nil, err
	}
	return l, nil
}

// evict closes the samplers that nobody uses, the longest unused first, until at most keep of them are left.
func (s *samplers) evict(keep int) {
	for {
		idle, oldest := 0, samplerKey{}
		for k, l := range s.have {
			if l.users > 0 {
				continue
			}
			if idle++; idle == 1 || l.used < s.have[oldest].used {
				oldest = k
			}
		}
		if idle <= max(keep, 0) {
			return
		}
		s.have[oldest].Close()
		s.have[oldest].release()
		delete(s.have, oldest)
	}
}

// close frees every sampler.
func (s *samplers) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.evict(0)
}
