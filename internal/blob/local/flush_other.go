//go:build !linux

package local

import "os"

// startFlush does nothing: Sync flushes all.
func startFlush(*os.File, int64, int64) {}
