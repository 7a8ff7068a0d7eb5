//go:build !(cgo && linux && amd64)

package engine

import (
	"errors"

	"github.com/gomlx/compute"
)

// errNoXLA: this binary was built without XLA.
var errNoXLA = errors.New("this binary has no XLA (it was built without cgo, or not for linux/amd64)")

// newXLA fails: XLA needs cgo and a plugin for this platform.
func newXLA(string) (compute.Backend, error) { return nil, errNoXLA }

func loadNVIDIA(string) error { return errNoXLA }
