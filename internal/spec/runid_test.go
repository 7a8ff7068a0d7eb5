package spec_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/spec"
)

func TestRunIDsAreOneSegmentOfAKey(t *testing.T) {
	for _, id := range []string{
		"r", "quickstart-seed1", "three_attempts.2", "7", strings.Repeat("a", 100),
		"dd6f3b0e-5a0c-4f0e-9d2b-1f7a1d2a5c11", // as the temporal command makes them
		"nightly-2026-11-26T02:17:00Z",         // as Temporal's schedules do
		spec.MemberRun("reward-study", "long", 1<<64-1),
	} {
		require.NoError(t, spec.CheckRunID(id))
	}
	for _, id := range []string{
		"", ".", "..", "-a", ".hidden", "team/exp-1", "a/", "/a", `a\b`, "a b", "a@12", "a%2Fb", "a?b", "a#b", "a\n", "é", "hf:x", "s3:x", "builtin:x", "ref:x", "run:x", strings.Repeat("a", 101),
	} {
		err := spec.CheckRunID(id)
		require.ErrorIs(t, err, spec.ErrInvalid, "%q", id)
		require.ErrorContains(t, err, "at most 100 letters", "%q", id)
	}
}
