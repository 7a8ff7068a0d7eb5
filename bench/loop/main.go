// Command loop runs fine-tuning and training in one process, without Temporal and without a store: the same stages on the
// same settings. It is the yardstick for what orchestration costs, and a quick way to try settings.
//
//	go run ./bench/loop finetune -preset quickstart-base -out DIR
//	go run ./bench/loop train -preset quickstart -model DIR -set iterations=20
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"

	"multiattempt/internal/engine"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "loop:", err)
		os.Exit(1)
	}
}

// options are the flags of both commands.
type options struct {
	preset, model, out, backend string
	every                       int
	sets                        []string
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("usage: loop finetune|train [flags]")
	}
	var o options
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	flags.StringVar(&o.preset, "preset", "", "preset to start from")
	flags.StringVar(&o.model, "model", "", "model folder to start from; empty: what the preset says")
	flags.StringVar(&o.out, "out", "", "folder to write the model to")
	flags.StringVar(&o.backend, "backend", engine.Auto, "auto, xla or go")
	flags.IntVar(&o.every, "every", 20, "iterations (or hundreds of steps) between evaluations")
	flags.Func("set", "path=value, repeatable", func(s string) error { o.sets = append(o.sets, s); return nil })
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	b, err := engine.Open(o.backend)
	if err != nil {
		return err
	}
	defer b.Close()
	switch args[0] {
	case "finetune":
		return finetune(ctx, b, o)
	case "train":
		return train(ctx, b, o)
	}
	return fmt.Errorf("unknown command %q", args[0])
}
