//go:build !failpoint

package workflows

import "time"

const (
	// heartbeat is how long a worker may be silent before its activity is given to another one. Workers report several
	// times as often.
	heartbeat = 20 * time.Second
	// ownWait is how long an activity waits for the learner that holds the state before any learner may take it.
	ownWait = 15 * time.Second
)
