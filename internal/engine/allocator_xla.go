//go:build cgo && linux && amd64

package engine

/*
#include <malloc.h>

// keep_freed_memory makes glibc's malloc keep large blocks that were freed. XLA allocates its temporaries anew for each run
// of a program, hundreds of megabytes; fetched from the kernel each time, every page is zeroed again, which cost a quarter
// of a training step. Only the main arena can keep blocks above 64 MiB, so there must be no other, and therefore this runs
// before the process has a second thread.
__attribute__((constructor)) static void keep_freed_memory(void) {
#ifdef __GLIBC__
	mallopt(M_MMAP_MAX, 0);
	mallopt(M_TRIM_THRESHOLD, -1);
	mallopt(M_ARENA_MAX, 1);
#endif
}
*/
import "C"
