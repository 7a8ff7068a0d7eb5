//go:build cgo && linux && amd64

package engine

/*
#cgo LDFLAGS: -ldl
#include <dlfcn.h>
#include <stdlib.h>
*/
import "C"

import (
	"fmt"
	"path/filepath"
	"unsafe"
)

// nvidiaLibraries are NVIDIA's, below the folder nvidia of a Python environment, in the order in which they need each other.
var nvidiaLibraries = []string{
	"cu13/lib/libcudart.so.13", "cu13/lib/libnvrtc.so.13", "cu13/lib/libcublasLt.so.13", "cu13/lib/libcublas.so.13",
	"nccl/lib/libnccl.so.2", "cu13/lib/libcupti.so.13", "cu13/lib/libnvJitLink.so.13", "cu13/lib/libcusparse.so.12",
	"cu13/lib/libcusolver.so.12", "cu13/lib/libcufft.so.12", "nvshmem/lib/libnvshmem_host.so.3", "cudnn/lib/libcudnn.so.9",
}

// loadNVIDIA loads the driver's library and NVIDIA's libraries from site, so that XLA and cuDNN, which look them up by name,
// find these. A library that is missing there is left for the system's linker to find.
func loadNVIDIA(site string) error {
	if err := load("libcuda.so.1"); err != nil {
		return fmt.Errorf("no NVIDIA driver on this machine (%w); install one for CUDA 13, or choose the backend %q", err, Auto)
	}
	for _, name := range nvidiaLibraries {
		_ = load(filepath.Join(site, "nvidia", name))
	}
	return nil
}

// load opens a shared library for the rest of the process's life.
func load(path string) error {
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	if C.dlopen(name, C.RTLD_NOW|C.RTLD_LOCAL) == nil {
		return fmt.Errorf("%s", C.GoString(C.dlerror()))
	}
	return nil
}
