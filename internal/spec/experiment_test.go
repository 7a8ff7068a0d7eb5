package spec_test

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/spec"
)

var armPresets = fstest.MapFS{
	"base.yaml":        {Data: []byte("iterations: 5\nattempts: {max: 3}\n")},
	"base-single.yaml": {Data: []byte("preset: base\nattempts: {max: 1}\niterations: 4\n")},
}

func members(t *testing.T, doc string) ([]spec.Member, error) {
	t.Helper()
	var e spec.Experiment
	if err := json.Unmarshal([]byte(doc), &e); err != nil {
		return nil, err
	}
	return e.Members("x", armPresets)
}

func TestMembersAreEveryArmWithEverySeed(t *testing.T) {
	got, err := members(t, `{"preset":"base","iterations":7,"seeds":[18446744073709551615,2],"arms":["multi","single",{"name":"long","settings":{"attempts":{"min":2}}}],"parallel":2}`)
	require.NoError(t, err)
	require.Len(t, got, 6)
	require.Equal(t, []string{"x-multi-seed18446744073709551615", "x-single-seed18446744073709551615", "x-long-seed18446744073709551615", "x-multi-seed2"},
		[]string{got[0].Run, got[1].Run, got[2].Run, got[3].Run})
	var runs []spec.Run
	for _, m := range got[:3] {
		run, err := spec.Resolve(m.Settings, armPresets)
		require.NoError(t, err)
		require.Equal(t, m.Seed, run.Seed)
		require.Equal(t, 7, run.Iterations, "the experiment's settings go before an arm's preset")
		runs = append(runs, run)
	}
	require.Equal(t, spec.Attempts{Min: 1, Max: 3}, bounds(runs[0]))
	require.Equal(t, spec.Attempts{Min: 1, Max: 1}, bounds(runs[1]), "the preset base-single")
	require.Equal(t, spec.Attempts{Min: 2, Max: 3}, bounds(runs[2]))
}

func bounds(r spec.Run) spec.Attempts { return spec.Attempts{Min: r.Attempts.Min, Max: r.Attempts.Max} }

func TestMembersWithoutArmsOrSeeds(t *testing.T) {
	got, err := members(t, `{"seed":3}`)
	require.NoError(t, err)
	require.Equal(t, "x-multi-seed3", got[0].Run)
	got, err = members(t, `{"arms":["single"]}`)
	require.NoError(t, err)
	run, err := spec.Resolve(got[0].Settings, armPresets)
	require.NoError(t, err)
	require.Equal(t, 1, run.Attempts.Max, "without a preset of that name")
}

func TestExperimentRefusesAllAtOnce(t *testing.T) {
	_, err := members(t, `{"preset":"base","seeds":[1,1],"parallel":0,"arms":["other","multi","multi",{"name":"a-b","settings":{"iterations":0}}]}`)
	require.ErrorIs(t, err, spec.ErrInvalid)
	for _, want := range []string{
		`arms[0] = "other": settings, as there is no preset base-other`, `arms[2] = "multi": each arm once`, `arms[3] = "a-b": a name of letters`,
		"seeds[1] = 1: each seed once", "parallel = 0:", "arm a-b: ", "iterations = 0",
	} {
		require.ErrorContains(t, err, want)
	}
	_, err = members(t, `{"seeds":[-1],"arms":[{"nam":"x"}]}`)
	require.ErrorIs(t, err, spec.ErrInvalid)
	require.ErrorContains(t, err, "seeds = [-1]")
	require.ErrorContains(t, err, "arms = ")
}

func TestAnExperimentReadsWhatItWrote(t *testing.T) {
	var e, again spec.Experiment
	require.NoError(t, json.Unmarshal([]byte(`{"preset":"base","seeds":[1],"arms":["multi"]}`), &e))
	b, err := json.Marshal(e)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &again))
	require.Equal(t, e, again)
	require.Equal(t, 1, again.Parallel)
}

func TestAnExperimentOfTooManyWordsIsRefused(t *testing.T) {
	long, err := json.Marshal(map[string]any{"preset": "base", "prompt": map[string]string{"feedback": strings.Repeat("x", 30<<10)}})
	require.NoError(t, err)
	_, err = members(t, string(long))
	require.ErrorIs(t, err, spec.ErrInvalid)
	require.ErrorContains(t, err, "at most 20480 bytes")
}
