//go:build cgo && linux && amd64

package engine

/*
#include <malloc.h>

// keep_freed_memory stops glibc's malloc from giving large blocks back to the kernel. XLA allocates its temporaries anew
// for each run of a program; fetched from the kernel each time, every page is zeroed again, which costs more than the
// arithmetic of a small network (measured: half of a training step).
static void keep_freed_memory(void) {
#ifdef __GLIBC__
	mallopt(M_MMAP_MAX, 0);
	mallopt(M_TRIM_THRESHOLD, -1);
#endif
}
*/
import "C"

// keepFreedMemory makes memory that XLA frees stay with the process, for XLA's next run.
func keepFreedMemory() { C.keep_freed_memory() }
