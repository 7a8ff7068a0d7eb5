//go:build !(cgo && linux && amd64)

package engine

import "github.com/gomlx/compute"

// newXLA fails: XLA needs cgo and a plugin for this platform.
func newXLA(string) (compute.Backend, error) { return nil, errNoXLA }
