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

// HasCUDA reports whether this machine has an NVIDIA GPU and an XLA plugin for it: XLACUDA is expected to open then.
func HasCUDA() bool { return hasGPU() && hasCUDAPlugin() }

func hasCUDAPlugin() bool {
	path := os.Getenv(CUDAPluginVariable)
	if path == "" {
		path, _ = CUDAPluginPath() // without a cache directory there is none
	}
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// gpuAdvice says what is missing to use the GPU.
func gpuAdvice() string {
	if !hasCUDAPlugin() {
		return GetCUDA
	}
	return "its plugin is installed, set backend.choice to " + XLACUDA
}
