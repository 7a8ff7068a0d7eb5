package verify

// Limits on the work of one grading. They count bytes, nodes, digits and operations, never time, so a
// verdict is the same on a busy machine. Their values keep the worst case below 10 ms and 16 MiB.
const (
	// maxResponseBytes is how much of the end of a model's text is searched for an answer.
	maxResponseBytes = 2 << 20
	// maxUnboxedBytes is how much of the end is searched for an answer that is not boxed.
	maxUnboxedBytes = 64 << 10
	// maxOpenBoxes is how many boxes may be open, one inside the other.
	maxOpenBoxes = 64
	// maxAnswerBytes is the longest answer that is parsed.
	maxAnswerBytes = 4096
)
