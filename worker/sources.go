package worker

import (
	"context"
	"path/filepath"

	"multiattempt/config"
	"multiattempt/internal/blob"
	"multiattempt/internal/hub"
	"multiattempt/internal/source"
)

// awsEndpoint serves buckets where the settings name no store.
const awsEndpoint = "s3.amazonaws.com"

// Sources finds models where the settings say: relative folders in the data directory and among the models of the cache
// directory, buckets at the store's endpoint with the store's credentials, the Hub as its own variables say.
func Sources(cfg config.Config) source.Finder {
	roots := []string{filepath.Join(cfg.CacheDir, "models")}
	if cfg.DataDir != "" {
		roots = append([]string{cfg.DataDir, filepath.Join(cfg.DataDir, "models")}, roots...)
	}
	return source.Finder{
		Roots: roots, Cache: cfg.CacheDir, Hub: hub.FromEnvironment(),
		Bucket: func(ctx context.Context, name string) (blob.Store, error) {
			c := cfg.Store
			c.Bucket = name
			if c.Endpoint == "" {
				c.Endpoint, c.TLS = awsEndpoint, true
			}
			s, err := OpenStore(ctx, c)
			if err != nil {
				return nil, err
			}
			return s, nil
		},
	}
}
