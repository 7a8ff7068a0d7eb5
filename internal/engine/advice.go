package engine

import (
	"os"
	"path/filepath"
)

// Advise says, for people, why a choice led to this backend, and how this machine gets a faster one; faster is empty when
// there is none.
func (b *Backend) Advise(choice string) (why, faster string) {
	switch {
	case choice != "" && choice != Auto:
		why = "backend.choice is " + choice
	case b.why != nil:
		why = "backend.choice is auto, and XLA cannot be had: " + b.why.Error()
	default:
		why = "backend.choice is auto, and the XLA plugin for the CPU is installed"
	}
	switch {
	case b.name == XLACUDA:
	case hasGPU():
		faster = "this machine has an NVIDIA GPU: " + gpuAdvice()
	case b.name == PureGo:
		faster = GetXLA
	}
	return why, faster
}

// hasGPU reports whether the kernel shows an NVIDIA GPU.
func hasGPU() bool {
	found, err := filepath.Glob("/dev/nvidia[0-9]*")
	return err == nil && len(found) > 0
}

// gpuAdvice says what is missing to use the GPU.
func gpuAdvice() string {
	path := os.Getenv(CUDAPluginVariable)
	if path == "" {
		path, _ = CUDAPluginPath() // without a cache directory there is none
	}
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return GetCUDA
	}
	return "its plugin is installed, set backend.choice to " + XLACUDA
}
