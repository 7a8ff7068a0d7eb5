//go:build failpoint

package workflows

import "time"

// The kill tests wait for many time-outs: theirs are short.
const (
	heartbeat = 4 * time.Second
	ownWait   = 4 * time.Second
)
