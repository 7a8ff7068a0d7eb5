//go:build cgo && linux && amd64

package engine

import (
	"github.com/gomlx/compute"
	"github.com/gomlx/go-xla/compute/xla"
)

// newXLA opens go-xla with a configuration "PLUGIN[,OPTION…]". Its network installer stays off.
func newXLA(config string) (compute.Backend, error) {
	xla.EnableAutoInstall(false)
	return xla.New(config)
}
