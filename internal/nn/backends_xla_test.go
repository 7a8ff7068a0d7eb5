//go:build cgo && linux && amd64

package nn_test

import (
	"github.com/gomlx/compute"
	"github.com/gomlx/go-xla/compute/xla"
)

func init() {
	newXLA = func(config string) (compute.Backend, error) {
		xla.EnableAutoInstall(false)
		return xla.New(config)
	}
}
