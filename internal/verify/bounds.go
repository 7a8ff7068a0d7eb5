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
	// maxTokens and maxNodes bound a parsed answer, maxDepth its nesting, maxDigits one number in it.
	maxTokens = 2048
	maxNodes  = 1024
	maxDepth  = 64
	maxDigits = 256
	// maxCells is the largest matrix.
	maxCells = 256
	// maxItems is the longest list, set or tuple.
	maxItems = 256
	// maxRatBits is the largest numerator or denominator that is computed exactly.
	maxRatBits = 4096
	// maxFactorial is the largest n whose factorial is taken modulo a prime.
	maxFactorial = 50_000
	// maxSumTerms is the longest sum or product that is written out.
	maxSumTerms = 512
	// maxSplices is how many tokens the parser may split into others, as in \frac12.
	maxSplices = 32
	// maxSigns is how many signs ± an answer may hold.
	maxSigns = 32
	// evalFuel is the numerical work of one comparison, in units of about a microsecond.
	evalFuel = 2_500
)
