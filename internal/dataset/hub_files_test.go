package dataset

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestChooseFiles(t *testing.T) {
	cases := map[string]struct {
		files         []string
		config, split string
		want          []string
	}{
		"folder of the configuration": {[]string{"socratic/test-0.parquet", "main/test-0.parquet", "main/train-0.parquet"}, "main", "test", []string{"main/test-0.parquet"}},
		"all configurations, sorted":  {[]string{"geometry/train-0.parquet", "algebra/train-0.parquet", "algebra/test-0.parquet"}, "", "train", []string{"algebra/train-0.parquet", "geometry/train-0.parquet"}},
		"parquet before jsonl":        {[]string{"test.jsonl", "data/test-0.parquet"}, "", "test", []string{"data/test-0.parquet"}},
		"split as a folder":           {[]string{"test/0.jsonl", "train/0.jsonl"}, "", "test", []string{"test/0.jsonl"}},
		"split as a word only":        {[]string{"latest.jsonl", "test.jsonl"}, "", "test", []string{"test.jsonl"}},
		"the only file":               {[]string{"README.md", "minervamath.jsonl"}, "", "test", []string{"minervamath.jsonl"}},
		"none":                        {[]string{"a.jsonl", "b.jsonl", "test.csv"}, "", "test", nil},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) { require.Equal(t, c.want, chooseFiles(c.files, c.config, c.split)) })
	}
}
