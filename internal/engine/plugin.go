package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Environment variables with the absolute path of a PJRT plugin, in place of the one that was installed.
const (
	PluginVariable     = "MULTIATTEMPT_XLA_PLUGIN"      // for the CPU
	CUDAPluginVariable = "MULTIATTEMPT_XLA_CUDA_PLUGIN" // for NVIDIA GPUs: jax_plugins/xla_cuda13/xla_cuda_plugin.so of a Python environment
)

// Lines that say how to get a faster backend.
const (
	GetXLA  = "for a backend 5 to 8 times faster run tools/xla/install.sh (needs pip), or set " + PluginVariable + " to a PJRT CPU plugin"
	GetCUDA = "to use the NVIDIA GPU run tools/xla/install-cuda.sh (needs pip and 4 GB of disk), or set " + CUDAPluginVariable +
		" to the xla_cuda_plugin.so of a Python environment with jax[cuda13]; then set backend.choice to " + XLACUDA
)

// PluginPath is where tools/xla/install.sh puts the CPU plugin for the current user.
func PluginPath() (string, error) { return cached("xla", "pjrt_c_api_cpu_plugin.so") }

// CUDAPluginPath is where tools/xla/install-cuda.sh puts the plugin for NVIDIA GPUs, with NVIDIA's libraries beside it as
// pip lays them out.
func CUDAPluginPath() (string, error) {
	return cached("xla-cuda", "jax_plugins", "xla_cuda13", "xla_cuda_plugin.so")
}

func cached(names ...string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the user's cache directory: %w", err)
	}
	return filepath.Join(append([]string{cache, "multiattempt"}, names...)...), nil
}

// findPlugin returns a plugin's absolute path: the variable's if set, else the installed one. Only absolute paths reach
// go-xla: a bare name makes it download one. go-xla tells devices apart by words in that path, foreign ones are refused.
func findPlugin(variable string, installed func() (string, error), get string, foreign ...string) (string, error) {
	path := os.Getenv(variable)
	if path == "" {
		var err error
		if path, err = installed(); err != nil {
			return "", fmt.Errorf("%w: %w", ErrBackend, err)
		}
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("%w: plugin path: %w", ErrBackend, err)
	}
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return "", fmt.Errorf("%w: no XLA plugin at %s; %s", ErrBackend, path, get)
	}
	for _, word := range foreign {
		if strings.Contains(strings.ToLower(path), word) {
			return "", fmt.Errorf("%w: the path %s must not contain %q: go-xla would take the plugin for another device's; move it, and set %s",
				ErrBackend, path, word, variable)
		}
	}
	return path, nil
}

// openXLA opens the XLA CPU plugin found on this machine.
func openXLA() (*Backend, error) {
	path, err := findPlugin(PluginVariable, PluginPath, GetXLA, "cuda", "nvidia")
	if err != nil {
		return nil, err
	}
	b, err := newXLA(path + ",shared_buffers")
	if err != nil {
		return nil, fmt.Errorf("%w: XLA plugin %s: %w; run tools/xla/install.sh again, or choose the backend %q", ErrBackend, path, err, PureGo)
	}
	opened := newBackend(b, XLA)
	opened.plugin = path
	return opened, nil
}

// openCUDA opens the XLA plugin for NVIDIA GPUs found on this machine.
func openCUDA() (*Backend, error) {
	path, err := findPlugin(CUDAPluginVariable, CUDAPluginPath, GetCUDA, "cpu")
	if err != nil {
		return nil, err
	}
	site := filepath.Dir(filepath.Dir(filepath.Dir(path))) // of a Python environment: holds jax_plugins and nvidia
	if err := loadNVIDIA(site); err != nil {
		return nil, fmt.Errorf("%w: xla:cuda: %w", ErrBackend, err)
	}
	for name, value := range map[string]string{
		flagsVariable:        cudaFlags(os.Getenv(flagsVariable), site),
		"GOPJRT_CUDA_CHECKS": "no", // go-xla looks for NVIDIA's libraries in another place, and warns
	} {
		if err := os.Setenv(name, value); err != nil {
			return nil, fmt.Errorf("%w: xla:cuda: %w", ErrBackend, err)
		}
	}
	b, err := newXLA(path + ",tf32=false") // sampler and trainer must agree to float32's precision
	if err != nil {
		return nil, fmt.Errorf("%w: XLA plugin %s: %w; run nvidia-smi to see whether driver and GPU work, or choose the backend %q",
			ErrBackend, path, err, Auto)
	}
	opened := newBackend(b, XLACUDA)
	opened.plugin = path
	return opened, nil
}

// flagsVariable holds XLA's own settings.
const flagsVariable = "XLA_FLAGS"

// cudaFlags adds to XLA's settings what a user has not set: equal inputs must give equal bytes, and XLA must find its
// tools, which pip lays out beside the plugin.
func cudaFlags(flags, site string) string {
	add := func(name, value string) {
		if !strings.Contains(flags, name) {
			flags = strings.TrimSpace(flags + " --" + name + "=" + value)
		}
	}
	if !strings.Contains(flags, "xla_gpu_exclude_nondeterministic_ops") {
		add("xla_gpu_deterministic_ops", "true")
	}
	if tools := filepath.Join(site, "nvidia", "cu13"); isDir(tools) {
		add("xla_gpu_cuda_data_dir", tools)
	}
	return flags
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
