// Command evaluate writes a small Llama with random weights and the tokenizer of another model's folder, for bench/evaluate/run.sh:
// what an evaluation costs beside the sampler does not depend on what the weights know.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"multiattempt/internal/engine"
	"multiattempt/internal/nn"
	"multiattempt/internal/source"
)

func main() {
	tokenizer := flag.String("tokenizer", "", "model folder whose tokenizer, chat template and vocabulary size the new model has")
	out := flag.String("out", "", "folder to make")
	flag.Parse()
	if err := write(*tokenizer, *out); err != nil {
		fmt.Fprintln(os.Stderr, "evaluate:", err)
		os.Exit(1)
	}
}

func write(tokenizer, out string) error {
	text, err := os.ReadFile(filepath.Join(tokenizer, source.ConfigFile))
	if err != nil {
		return err
	}
	config, err := nn.ParseConfig(text)
	if err != nil {
		return err
	}
	config.HiddenSize, config.IntermediateSize, config.Layers, config.Heads, config.KVHeads, config.HeadDim = 64, 256, 2, 4, 2, 16
	model := engine.Random(config, 1)
	for _, name := range source.Companions() {
		b, err := os.ReadFile(filepath.Join(tokenizer, name))
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return err
		}
		model.Files[name] = b
	}
	return model.WriteFolder(out)
}
