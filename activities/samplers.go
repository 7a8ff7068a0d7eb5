package activities

import (
	"context"
	"sync"

	"multiattempt/internal/blob"
	"multiattempt/internal/chat"
)

// samplersKept is the number of samplers whose weights stay on the device while nobody uses them.
const samplersKept = 1

// samplers keeps loaded policies by digest. The policy that an activity names decides what samples; what happens to be
// loaded never does.
type samplers struct {
	engine Engine
	models *Models

	mu    sync.Mutex // held while loading: several shards of one policy wait for one load
	have  map[blob.Digest]*loaded
	clock int
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
	return &samplers{engine: engine, models: models, have: map[blob.Digest]*loaded{}}
}

// use returns a sampler of p, to be given back by calling done. One that must be loaded is shown to fits first, as a folder.
func (s *samplers) use(ctx context.Context, p Policy, fits func(dir string) error) (l *loaded, done func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l = s.have[p.Digest]
	if l == nil {
		s.evict(samplersKept - 1) // make room before the new weights arrive
		if l, err = s.load(ctx, p, fits); err != nil {
			return nil, nil, err
		}
		s.have[p.Digest] = l
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

func (s *samplers) load(ctx context.Context, p Policy, fits func(dir string) error) (*loaded, error) {
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
		l.Sampler, err = s.engine.NewSampler(ctx, dir)
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
		idle, oldest := 0, blob.Digest{}
		for d, l := range s.have {
			if l.users > 0 {
				continue
			}
			if idle++; idle == 1 || l.used < s.have[oldest].used {
				oldest = d
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
