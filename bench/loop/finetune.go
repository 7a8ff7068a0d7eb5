package main

import (
	"context"
	"fmt"
	"time"

	"multiattempt/internal/chat"
	"multiattempt/internal/dataset"
	"multiattempt/internal/engine"
	"multiattempt/internal/imitation"
	"multiattempt/internal/spec"
	"multiattempt/presets"
)

func finetune(ctx context.Context, b *engine.Backend, o options) error {
	doc, err := spec.Override([]byte(fmt.Sprintf(`{"preset":%q}`, o.preset)), spec.Finetune{}, o.sets)
	if err != nil {
		return err
	}
	f, err := spec.ResolveFinetune(doc, presets.Finetune())
	if err != nil {
		return err
	}
	dialogues, err := dataset.OpenDialogues(f.Data, f.Prompt)
	if err != nil {
		return err
	}
	dir, err := create(f, dialogues.Alphabet())
	if err != nil {
		return err
	}
	talk, err := chat.Load(dir)
	if err != nil {
		return err
	}
	m, err := engine.NewImitator(ctx, engine.ImitatorOptions{Backend: b, Model: dir, Optimizer: f.Optimizer, Microbatch: f.Microbatch})
	if err != nil {
		return err
	}
	defer m.Close() //nolint:errcheck // the process ends
	began := time.Now()
	const part = 100
	for step := 0; step < f.Steps; step += part {
		stats, err := imitation.Run(ctx, m, talk, dialogues, f, step, min(part, f.Steps-step), func(int) {})
		if err != nil {
			return err
		}
		fmt.Printf("%5d %5.0fs loss %.4f gn %.3f\n", min(step+part, f.Steps), time.Since(began).Seconds(), stats.Loss, stats.GradNorm)
	}
	return m.WritePolicy(ctx, o.out)
}

// create writes a random model with a character tokenizer and returns its folder.
func create(f spec.Finetune, alphabet string) (string, error) {
	dir, err := temporary("random")
	if err != nil {
		return "", err
	}
	n, err := chat.NewCharacterFolder(dir, alphabet, f.Architecture.Words...)
	if err != nil {
		return "", err
	}
	model, err := engine.New(f.Architecture, n, f.Seed)
	if err != nil {
		return "", err
	}
	return dir, model.WriteFolder(dir)
}
